"""Repairs of MMEngine's distributed training on a machine without an accelerator."""

import atexit
import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

import mmengine.dist.utils
import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from torch import nn


@contextmanager
def without_set_device() -> Iterator[None]:
    """Disable ``torch.cuda.set_device``, which fails without a GPU, inside this context."""
    set_device = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = set_device


def fall_back_to_gloo(init_dist: Callable) -> Callable:
    """Let processes communicate over gloo if there is no GPU for nccl, under any launcher."""

    @functools.wraps(init_dist)
    def init_dist_anywhere(backend: str, **kwargs) -> None:
        if get_device() != 'cpu':
            return init_dist(backend, **kwargs)
        with without_set_device():
            init_dist('gloo' if backend == 'nccl' else backend, **kwargs)
        atexit.register(leave)

    return init_dist_anywhere


def leave() -> None:
    """Let gloo's threads finish before the interpreter ends (all releases of torch).

    A thread that still has to free the tensors of the last exchange needs the interpreter's lock.
    It aborts the process if it cannot get the lock because the interpreter is ending.
    """
    time.sleep(0.5)  # without the lock
    if dist.is_initialized():
        dist.destroy_process_group()


def repair_launchers() -> None:
    """Repair the three launchers (all releases choose a GPU before they look for one)."""
    for launcher in ('pytorch', 'mpi', 'slurm'):
        name = f'_init_dist_{launcher}'
        setattr(mmengine.dist.utils, name, fall_back_to_gloo(getattr(mmengine.dist.utils, name)))


def repair_model_wrapper() -> None:
    """Drop the GPU number that the Runner passes for a model on the CPU (all releases)."""
    init = MMDistributedDataParallel.__init__

    @functools.wraps(init)
    def init_anywhere(self: MMDistributedDataParallel, module: nn.Module, *args, **kwargs) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = None
        init(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = init_anywhere


def apply() -> None:
    """Apply every repair of this module."""
    repair_launchers()
    repair_model_wrapper()
