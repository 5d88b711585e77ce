"""A hook that ends a training whose loss is no longer finite, and says where it began."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch import nn

from ...errors import ConfigError, DivergedError
from ...models.algorithms import Cohort
from ...models.nested import tensors_in


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a training at a loss that is NaN or infinite, before a checkpoint can hold it.

    On a CPU each loss is checked before its step. On a GPU that would wait for every step, so the
    first bad iteration is noted on the device and read every ``interval`` iterations and before a
    checkpoint. A :class:`Cohort` stops its members itself and is left alone.

    Args:
        on_nan (str): 'stop', or 'skip' to leave the step to the loss scaler of mixed precision,
            which leaves it out and halves its scale. Defaults to 'stop'.
        interval (int): Iterations between two looks on a GPU. Defaults to 50.

    Raises:
        ConfigError: If ``on_nan`` is neither, or 'skip' without a dynamic loss scale.
    """

    # Before the hooks that log and save.
    priority = 'VERY_HIGH'

    def __init__(self, on_nan: str = 'stop', interval: int = 50):
        if on_nan not in ('stop', 'skip'):
            raise ConfigError(f"FiniteLossHook: on_nan={on_nan!r} is neither 'stop' nor 'skip'")
        self.on_nan = on_nan
        self.interval = interval
        self._model: Optional[nn.Module] = None
        self._batch: Any = None
        self._losses: Mapping[str, torch.Tensor] = {}
        self._first: Optional[torch.Tensor] = None

    def before_train(self, runner: Runner):
        """Look at each total loss from now on."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if self.on_nan == 'skip':
            wrapper = runner.optim_wrapper
            if not isinstance(wrapper, AmpOptimWrapper) or not wrapper.loss_scaler.is_enabled():
                raise ConfigError(
                    "FiniteLossHook: on_nan='skip' needs a loss scaler, which leaves a bad step "
                    "out: train with --amp fp16, or take on_nan='stop'"
                )
        elif not isinstance(model, Cohort):
            self._model = model
            model.parse_losses = self._looking(runner, model.parse_losses)

    def after_train(self, runner: Runner):
        """Leave the model as it was."""
        if self._model is not None:
            del self._model.parse_losses
            self._model = self._batch = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None):
        """Keep the batch, to run it once more."""
        self._batch = data_batch

    def after_train_iter(self, runner: Runner, *args, **kwargs):
        """On a GPU, see now and then what has been noted."""
        if self._first is not None and (runner.iter + 1) % self.interval == 0:
            self._read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict):
        """Let no checkpoint of a training that has diverged replace a good one."""
        if self._first is not None:
            self._read(runner)

    def _looking(self, runner: Runner, parse_losses: Callable) -> Callable:
        def look(losses: dict) -> tuple:
            total, self._losses = parse_losses(losses)
            if total.device.type == 'cpu':
                if not math.isfinite(total.item()):
                    self._stop(runner, runner.iter)
            else:
                if self._first is None:
                    self._first = torch.full((), -1, device=total.device)
                new = ~torch.isfinite(total.detach()) & (self._first < 0)
                self._first = torch.where(new, runner.iter, self._first)
            return total, self._losses

        return look

    def _read(self, runner: Runner):
        first = int(self._first)
        if first >= 0:
            self._stop(runner, first)

    def _stop(self, runner: Runner, iteration: int):
        losses = ', '.join(f'{name} {float(v):.4g}' for name, v in self._losses.items())
        now = '' if iteration == runner.iter else f' (now {runner.iter + 1})'
        rates = ', '.join(
            f'{rate:.4g}' for rate in dict.fromkeys(sum(runner.optim_wrapper.get_lr().values(), []))
        )
        where = first_not_finite(self._model, self._batch, runner.optim_wrapper)
        raise DivergedError(
            f'the loss is not finite at iteration {iteration + 1}{now} of epoch '
            f'{runner.epoch + 1}: {losses}; learning rate {rates}. {where} Try a lower learning '
            f'rate or loss weight, a warm-up, optim_wrapper.clip_grad=dict(max_norm=5), or '
            f'training without --amp. The checkpoints in {runner.work_dir} are from before; '
            f'--resume goes on from the last one.'
        )


def first_not_finite(model: nn.Module, batch: Any, wrapper: Any) -> str:
    """Say in a sentence where a batch's numbers stop being finite: run it once more and look."""
    for name, value in model.named_parameters():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return f'The weights {name} are not finite already, by an earlier gradient.'
    found: list[str] = []
    handles = []
    for name, module in model.named_modules():
        if module is not model:  # it gives the losses
            handles.append(module.register_forward_hook(_look_at(name, found)))
    try:
        with wrapper.optim_context(model):
            data = model.data_preprocessor(batch, True)
            losses = model._run_forward(data, mode='loss')
            total, losses = type(model).parse_losses(model, losses)
        bad = [name for name, v in losses.items() if not torch.isfinite(v)]
        bad = [name for name in bad if name != 'loss'] or bad  # the total last
        if not found and total.requires_grad:
            total.backward()
        if bad and (not found or 'gradient' in found[0]):
            return f'Every module gives finite numbers; the loss {", ".join(bad)} does not.'
        if not found:
            return 'With other random numbers the same batch gives a finite loss.'
    except Exception as error:
        # The error that is reported is the loss; this one only hides where it began.
        if not found:
            return f'Running the batch once more failed ({type(error).__name__}: {error}).'
    finally:
        for handle in handles:
            handle.remove()
    return f'The first module whose {found[0]}.'


def _look_at(name: str, found: list[str]) -> Callable:
    def look(module: nn.Module, inputs: Any, output: Any):
        if found:
            return
        if any(not torch.isfinite(value).all() for value in _floats_in(output)):
            found.append(f'output is not finite is {name} ({type(module).__name__})')
            return
        for value in _floats_in(output):
            if value.requires_grad:
                value.register_hook(look_at_gradient)

    def look_at_gradient(gradient: torch.Tensor):
        if not found and not torch.isfinite(gradient).all():
            found.append(f'gradient is not finite is {name}')

    return look


def _floats_in(values: Any) -> list[torch.Tensor]:
    return [tensor for tensor in tensors_in(values) if tensor.is_floating_point()]
