"""SGD in one pass over each parameter."""

from collections.abc import Callable
from typing import Optional

import torch
from mmrazor.registry import OPTIMIZERS
from torch.optim.sgd import SGD, sgd

# A parameter whose size this divides fills whole vectors of any CPU. The fused kernel rounds the
# rest of a vector differently from SGD.
_VECTOR = 16


@OPTIMIZERS.register_module()
class FusedSGD(SGD):
    """SGD with one fused pass over a parameter wherever that gives the same numbers to the bit.

    On a CPU it is nearly four times as fast as PyTorch's SGD, whose checkpoints it reads and
    writes. It fuses float32 parameters of whole vectors whose gradient and momentum have the same
    memory layout; with other layouts PyTorch's own ``fused=True`` silently mixes numbers up. It
    updates all others, and every parameter on a GPU, as PyTorch's SGD does.

    Args:
        params (Iterable): Parameters, or groups of them.
        **kwargs: Arguments of :class:`torch.optim.SGD`.

    Examples:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='mmrazor.FusedSGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
    """

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], float]] = None) -> Optional[float]:
        """Update the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            stock: list[tuple] = []
            fused: list[tuple] = []
            for parameter in group['params']:
                if parameter.grad is not None:
                    momentum = self._momentum(parameter)
                    fits = momentum is not None and _fits(parameter, parameter.grad, momentum)
                    (fused if fits else stock).append((parameter, parameter.grad, momentum))
            self._update(group, stock)
            self._update(group, fused, foreach=False, fused=True)
        return loss

    def _momentum(self, parameter: torch.Tensor) -> Optional[torch.Tensor]:
        """Return a parameter's momentum in its memory layout, which a checkpoint's may not have."""
        state = self.state[parameter]
        momentum = state.get('momentum_buffer')
        if momentum is not None and momentum.stride() != parameter.stride():
            momentum = state['momentum_buffer'] = torch.empty_like(parameter).copy_(momentum)
        return momentum

    def _update(self, group: dict, entries: list[tuple], **kind: bool):
        if not entries:
            return
        parameters, gradients, momenta = map(list, zip(*entries))
        names = ('weight_decay', 'momentum', 'lr', 'dampening', 'nesterov', 'maximize')
        options = {name: group[name] for name in (*names, 'foreach', 'fused')}
        sparse = any(gradient.is_sparse for gradient in gradients)
        sgd(parameters, gradients, momenta, has_sparse_grad=sparse, **{**options, **kind})
        if group['momentum'] != 0:
            for parameter, momentum in zip(parameters, momenta):
                self.state[parameter]['momentum_buffer'] = momentum


def _fits(parameter: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor) -> bool:
    """Tell whether the fused kernel gives the numbers of SGD."""
    strides = parameter.stride()
    return (
        parameter.numel() % _VECTOR == 0
        and gradient.layout == torch.strided
        and strides == gradient.stride() == momentum.stride()
        and parameter.dtype == gradient.dtype == momentum.dtype == torch.float32
        and parameter.device.type == 'cpu'
        and _is_dense(parameter)
    )


def _is_dense(parameter: torch.Tensor) -> bool:
    last = torch.channels_last
    return parameter.is_contiguous() or (
        parameter.dim() == 4 and parameter.is_contiguous(memory_format=last)
    )
