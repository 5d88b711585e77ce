"""Repairs of MMPretrain's networks."""

import functools
from collections.abc import Iterator
from typing import Callable

import mmpretrain.models  # noqa: F401  (the classes to repair)
from mmengine.model import BaseModule
from torch import nn


def return_self(train: Callable) -> Callable:
    """Wrap a ``train`` that returns nothing, so that it returns the module as PyTorch's does."""

    @functools.wraps(train)
    def train_and_return(self: nn.Module, mode: bool = True) -> nn.Module:
        returned = train(self, mode)
        return self if returned is None else returned

    return train_and_return


def subclasses(base: type) -> Iterator[type]:
    """Yield every class below ``base``, some of them more than once."""
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def repair_train(package: str) -> None:
    """Make ``train()`` and ``eval()`` of all modules of ``package`` return the module.

    All releases of MMPretrain and of MMRazor override ``train`` without a return value, so
    ``net = net.eval()`` sets ``net`` to None.
    """
    for cls in set(subclasses(BaseModule)):
        if 'train' in vars(cls) and cls.__module__.startswith(f'{package}.'):
            cls.train = return_self(cls.train)


def apply() -> None:
    """Apply every repair of this module."""
    repair_train('mmpretrain')
