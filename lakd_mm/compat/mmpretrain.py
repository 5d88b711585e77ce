"""Repairs of MMPretrain's networks."""

import functools
from collections.abc import Iterator
from typing import Callable

import mmpretrain.models  # noqa: F401  (the classes to repair)
from mmengine.model import BaseModule
from torch import nn


def return_self(train: Callable) -> Callable:
    """Makes a ``train`` that returns nothing return the module, as ``nn.Module.train`` does."""

    @functools.wraps(train)
    def train_and_return(self: nn.Module, mode: bool = True) -> nn.Module:
        returned = train(self, mode)
        return self if returned is None else returned

    return train_and_return


def subclasses(base: type) -> Iterator[type]:
    """Yields every class below ``base``, some of them more than once."""
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def repair_train(package: str) -> None:
    """Makes ``train()`` and ``eval()`` of all modules of ``package`` return the module.

    All releases of MMPretrain and of MMRazor override ``train`` without a return value, so that
    ``net = net.eval()`` gives None.
    """
    for cls in set(subclasses(BaseModule)):
        if 'train' in vars(cls) and cls.__module__.startswith(f'{package}.'):
            cls.train = return_self(cls.train)


def apply() -> None:
    """Applies every repair of this module."""
    repair_train('mmpretrain')
