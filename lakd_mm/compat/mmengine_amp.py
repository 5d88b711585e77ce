"""Repair of MMEngine's mixed precision where there is no accelerator."""

import functools
from collections.abc import Callable

import mmengine.optim.optimizer.amp_optimizer_wrapper as upstream
import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper


def repair_init(init: Callable) -> Callable:
    """Let ``AmpOptimWrapper`` run on a CPU, and without a loss scale where it has no use.

    All releases assert an accelerator, though torch has autocast for CPUs. bfloat16 has the range
    of float32, so its losses need no dynamic scale, whose check of all gradients waits for the GPU
    in each step.
    """

    @functools.wraps(init)
    def init_anywhere(self, loss_scale='dynamic', dtype=None, use_fsdp=False, **kwargs):
        init(self, loss_scale, dtype, use_fsdp, **kwargs)
        device = get_device()
        if self.cast_dtype is None and device == 'cpu':
            self.cast_dtype = torch.bfloat16
        if self.cast_dtype == torch.bfloat16 and loss_scale == 'dynamic':
            self.loss_scaler = torch.amp.GradScaler(device, enabled=False)

    return init_anywhere


def _scaler(*args, **kwargs) -> torch.amp.GradScaler:
    """Return a scaler of the device at hand; upstream's is for CUDA only, and deprecated."""
    return torch.amp.GradScaler(get_device(), *args, **kwargs)


def apply():
    """Apply the repair once."""
    if not hasattr(AmpOptimWrapper.__init__, '__wrapped__'):
        AmpOptimWrapper.__init__ = repair_init(AmpOptimWrapper.__init__)
        # One of those that upstream asks for; nothing else there looks at it.
        upstream.is_musa_available = lambda: True
        if upstream.GradScaler is torch.cuda.amp.GradScaler:
            upstream.GradScaler = _scaler
