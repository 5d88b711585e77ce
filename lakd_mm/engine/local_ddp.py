"""Distributed data parallel training for students that learn module by module."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Union

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmrazor.registry import MODEL_WRAPPERS

from ..errors import ConfigError

# Arguments for the wrapper's own forward, or for the one backward that follows it.
_OF_ONE_BACKWARD = (
    'broadcast_buffers',
    'bucket_cap_mb',
    'detect_anomalous_params',
    'find_unused_parameters',
    'gradient_as_bucket_view',
    'static_graph',
)


@MODEL_WRAPPERS.register_module()
class LocalDistributedDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` that keeps the backward local.

    PyTorch averages gradients over processes during one backward of one loss. Here each module of
    the student has its own backward inside the forward (:class:`Distill` with
    ``backward='local'``). After this backward the wrapper sends the module's gradients while the
    next module runs, and it waits for all of them before the optimizer steps. With gradient
    accumulation it sends them only in the last iteration before a step.

    For any other model, and for ``backward='joint'``, it works as ``MMDistributedDataParallel``.
    With the latter wrapper LAKD trains with the joint backward: the same gradients, but more
    memory.

    Args:
        module (nn.Module): The model.
        **kwargs: Arguments of ``MMDistributedDataParallel``.

    Raises:
        ConfigError: If an argument would be ignored.

    Examples:
        >>> model_wrapper_cfg = dict(
        ...     type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False)
    """

    def __init__(self, module: torch.nn.Module, **kwargs):
        ignored = [f'{name}={kwargs[name]!r}' for name in _OF_ONE_BACKWARD if kwargs.get(name)]
        if ignored and getattr(module, 'backward', None) == 'local':
            raise ConfigError(
                f'LocalDistributedDataParallel: {", ".join(ignored)} would be ignored with '
                f"backward='local'; leave it out, or set model.backward='joint'"
            )
        super().__init__(module, **kwargs)
        self._averaging = False
        self._position = {p: i for i, p in enumerate(module.parameters()) if p.requires_grad}
        self._ready = []
        self._under_way = []
        for parameter in self._position:
            parameter.register_post_accumulate_grad_hook(self._collect)

    def train_step(
        self, data: Union[dict, tuple, list], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        """Run the forward and the backward, and update the parameters.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapper): The wrapper that updates the parameters.

        Returns:
            Dict[str, torch.Tensor]: The values to log.
        """
        if isinstance(optim_wrapper, OptimWrapperDict):
            return self.module.train_step(data, optim_wrapper, self.averaging)
        if getattr(self.module, 'backward', None) != 'local':
            return super().train_step(data, optim_wrapper)
        with self.averaging(optim_wrapper) as before_last_backward:
            # PyTorch's own averaging waits for a forward of this wrapper, which is not called.
            with optim_wrapper.optim_context(self):
                losses = self.module.batch_losses(data, optim_wrapper)
            total, log_vars = self.module.parse_losses(losses)
            before_last_backward(total)
            optim_wrapper.update_params(total)
        return log_vars

    @contextmanager
    def averaging(self, optim_wrapper: OptimWrapper) -> Iterator[Callable[[torch.Tensor], None]]:
        """Average over the processes the gradients of all backwards inside.

        Args:
            optim_wrapper (OptimWrapper): Says whether a step follows that needs them.

        Yields:
            Callable[[Tensor], None]: To be called with the last loss before its backward.
        """
        self._averaging = optim_wrapper.should_sync()

        def before_last_backward(total: torch.Tensor):
            if self._averaging:
                total.register_hook(lambda _: _at_the_end_of_this_backward(self._finish))

        try:
            yield before_last_backward
        finally:
            self._averaging = False
            self._ready.clear()
            self._under_way.clear()

    def _collect(self, parameter: torch.nn.Parameter):
        """Note a complete gradient; the first one of a backward also schedules the sending."""
        if self._averaging:
            if not self._ready:
                _at_the_end_of_this_backward(self._send)
            self._ready.append(parameter)

    def _send(self):
        """Start to sum the ready gradients over the processes."""
        if not self._ready:
            return
        parameters = sorted(self._ready, key=self._position.get)
        self._ready.clear()
        bucket = torch.cat([parameter.grad.flatten() for parameter in parameters])
        work = dist.all_reduce(bucket, group=self.process_group, async_op=True)
        self._under_way.append((parameters, bucket, work))

    def _finish(self):
        """Send the rest, wait for all sums and turn them into averages."""
        self._send()
        for parameters, bucket, work in self._under_way:
            work.wait()
            bucket /= dist.get_world_size(self.process_group)
            sizes = [parameter.numel() for parameter in parameters]
            for parameter, average in zip(parameters, bucket.split(sizes)):
                parameter.grad.copy_(average.view_as(parameter))
        self._under_way.clear()


def _at_the_end_of_this_backward(function):
    """Have autograd call a function at the end of the running backward."""
    torch.autograd.Variable._execution_engine.queue_callback(function)
