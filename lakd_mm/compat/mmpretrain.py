"""Repairs of MMPretrain's networks."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import torch
from mmengine.model import BaseModule
from mmpretrain.evaluation import Accuracy
from mmpretrain.models.backbones import LeNet5
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from mmpretrain.models.utils import ShiftWindowMSA
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


def window_reverse(windows: torch.Tensor, height: int, width: int, size: int) -> torch.Tensor:
    """Put windows (N * windows, size, size, C) together to maps (N, height, width, C)."""
    windows = windows.unflatten(0, (-1, height // size, width // size))
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def repair_windows() -> None:
    """Let ``torch.export`` trace Swin and its relatives for any number of images.

    MMPretrain 1.2 computes that number as a float, which ties the trace to one number.
    """
    for cls in (ShiftWindowMSA, MixMIMBlock):
        if 'int(windows.shape[0] /' in inspect.getsource(cls.window_reverse):
            cls.window_reverse = staticmethod(window_reverse)


def repair_process(process: Callable) -> Callable:
    """Let ``Accuracy`` move a batch from a GPU at once.

    MMPretrain 1.2 moves each image's score and label by itself, and waits for the GPU each time.
    """

    @functools.wraps(process)
    def process_moved(self: Accuracy, data_batch: Any, data_samples: Sequence[dict]) -> None:
        samples = [dict(sample) for sample in data_samples]
        for key in ('pred_score', 'pred_label', 'gt_label'):
            values = [sample.get(key) for sample in samples]
            shapes = {value.shape if getattr(value, 'is_cuda', False) else None for value in values}
            if len(shapes) == 1 and shapes != {None}:
                for sample, value in zip(samples, torch.stack(values).cpu()):
                    sample[key] = value
        process(self, data_batch, samples)

    return process_moved


def classify(self: LeNet5, images: torch.Tensor) -> tuple[torch.Tensor]:
    """Compute features or, with classes, logits of LeNet-5."""
    features = self.features(images)
    return (self.classifier(features.flatten(1)) if self.num_classes > 0 else features,)


def repair_lenet() -> None:
    """Let LeNet-5 classify one image.

    MMPretrain 1.2 takes away each axis of length 1, that of the images too.
    """
    if 'x.squeeze()' in inspect.getsource(LeNet5.forward):
        LeNet5.forward = classify


def apply() -> None:
    """Apply every repair of this module."""
    repair_train('mmpretrain')
    repair_windows()
    repair_lenet()
    if not hasattr(Accuracy.process, '__wrapped__'):
        Accuracy.process = repair_process(Accuracy.process)
