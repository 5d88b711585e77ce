"""Repair of MMEngine's log history, whose cost and size grow with every iteration.

All releases copy the whole history of a scalar to append one value, keep a million values, save
them in each checkpoint, and wait for the GPU once for each logged tensor.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import EpochBasedTrainLoop, Runner


def _history(name: str) -> property:
    """Make an array of a buffer one that takes in what has been appended when it is read."""

    def read(self: HistoryBuffer) -> np.ndarray:
        _take_in(self)
        return self.__dict__[name]

    return property(read, lambda self, values: self.__dict__.update({name: values}))


def _take_in(buffer: HistoryBuffer):
    """Append what is pending to the arrays, and keep the last ``max_length`` values."""
    pending = buffer.__dict__.pop('_pending', [])
    if pending:
        values, counts = zip(*pending)
        for name, new in (('_log_history', _floats(values)), ('_count_history', counts)):
            history = np.concatenate([buffer.__dict__[name], new])
            buffer.__dict__[name] = history[-buffer.max_length :]


def _floats(values: Sequence) -> list[float]:
    """Return numbers for numbers and tensors of one element, with one transfer from a GPU."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if len({(tensor.device, tensor.dtype) for tensor in tensors}) == 1:
        read = iter(torch.stack([tensor.reshape(()) for tensor in tensors]).tolist())
    else:
        read = (tensor.item() for tensor in tensors)
    return [next(read) if isinstance(value, torch.Tensor) else value for value in values]


def update(self: HistoryBuffer, log_val: float, count: int = 1):
    """Append a value, see upstream; it may be a tensor of one element, read when it is needed."""
    if not isinstance(log_val, (int, float, torch.Tensor)) or not isinstance(count, (int, float)):
        raise TypeError(
            f'log_val must be int or float but got {type(log_val)}, count must be int but got '
            f'{type(count)}'
        )
    pending = self.__dict__.setdefault('_pending', [])
    pending.append((log_val, count))
    if len(pending) >= self.max_length:
        _take_in(self)


def repair_state(getstate: Callable) -> Callable:
    """Let a saved buffer hold what upstream's does."""

    @functools.wraps(getstate)
    def take_in_first(self) -> dict:
        _take_in(self)
        return getstate(self)

    return take_in_first


def repair_update_scalar(update_scalar: Callable) -> Callable:
    """Give a new buffer the length that the run needs, and do not wait for a GPU's tensor."""

    @functools.wraps(update_scalar)
    def update_bounded(self, key, value, count=1, resumed=True):
        if key not in self._log_scalars:
            update_scalar(self, key, value, count, resumed)
            self._log_scalars[key].max_length = self.__dict__.get('history_length', 1_000_000)
        elif isinstance(value, torch.Tensor) and value.is_cuda and value.numel() == 1:
            self._set_resumed_keys(key, resumed)
            self._log_scalars[key].update(value.detach(), count)
        else:
            update_scalar(self, key, value, count, resumed)

    return update_bounded


def repair_before_train(before_train: Callable) -> Callable:
    """Bound the history by the longest window that the log takes a mean over."""

    @functools.wraps(before_train)
    def bound_history(self, runner):
        before_train(self, runner)
        length = history_length(runner)
        runner.message_hub.history_length = length
        for buffer in runner.message_hub.log_scalars.values():
            buffer.max_length = length

    return bound_history


def history_length(runner: Runner) -> int:
    """Return how many values of a scalar the log of a run looks back at.

    That is an epoch, or a longer window of the log processor; everything for a 'global' one.
    """
    processor = runner.log_processor
    windows = [processor.window_size]
    windows += [custom.get('window_size', 1) for custom in processor.custom_cfg]
    if 'global' in windows:
        return 1_000_000
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    epoch = len(runner.train_dataloader) if by_epoch else 1
    return max(epoch, *(window for window in windows if isinstance(window, int)))


def apply():
    """Apply the repair once."""
    if hasattr(HistoryBuffer.__getstate__, '__wrapped__'):
        return
    HistoryBuffer._log_history = _history('_log_history')
    HistoryBuffer._count_history = _history('_count_history')
    HistoryBuffer.update = update
    HistoryBuffer.__getstate__ = repair_state(HistoryBuffer.__getstate__)
    MessageHub.update_scalar = repair_update_scalar(MessageHub.update_scalar)
    RuntimeInfoHook.before_train = repair_before_train(RuntimeInfoHook.before_train)
