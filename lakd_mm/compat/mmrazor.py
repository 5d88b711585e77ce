"""Repairs of MMRazor's algorithms and connectors."""

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import mmcv
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .deferred import deferred
from .dense import EXTRAS
from .mmpretrain import repair_train

# For the search of architectures and for OFD's margins. Loaded at once only where MMRazor imports
# MMDetection or MMSegmentation, which may derive classes from theirs.
HEAVY = () if any(map(importlib.util.find_spec, EXTRAS)) else ('scipy.stats', 'sklearn.tree')
# The newest MMCV that MMRazor 1.0.0 knows.
KNOWN_MMCV = '2.1.0'


@contextmanager
def known_mmcv() -> Iterator[None]:
    """Let MMRazor be imported beside OneDL's MMCV, which it refuses by its release alone."""
    release, known = mmcv.__version__, KNOWN_MMCV
    if tuple(map(int, release.split('.')[:2])) > tuple(map(int, known.split('.')[:2])):
        mmcv.__version__ = known
    try:
        yield
    finally:
        mmcv.__version__ = release


with deferred(*HEAVY), known_mmcv():
    from mmrazor.models.algorithms import BaseAlgorithm, SingleTeacherDistill
    from mmrazor.models.architectures.connectors import MGDConnector


def clear_inplace(self: BaseAlgorithm, architecture: nn.Module, varstr: str) -> None:
    """Clear the ``inplace`` of every module, so that recorders see its original output."""
    for module in architecture.modules():
        if hasattr(module, 'inplace'):
            module.inplace = False


def restore_inplace_guard() -> None:
    """Restore ``set_module_inplace_false``, which stops at the first module since torch 2.5.

    It descends into ``OrderedDict`` only, but ``Module._modules`` became a plain ``dict``.
    """
    probe = SimpleNamespace(architecture=nn.Sequential(nn.ReLU(inplace=True)))
    probe.set_module_inplace_false = functools.partial(
        BaseAlgorithm.set_module_inplace_false, probe
    )
    probe.set_module_inplace_false(probe.architecture, 'self.architecture')
    if probe.architecture[0].inplace:
        BaseAlgorithm.set_module_inplace_false = clear_inplace


def freeze_teacher() -> None:
    """Put all of a frozen teacher in eval mode (all releases leave dropout and drop-path on).

    ``teacher_norm_eval=False`` still means that its normalization layers follow the student's mode.
    """
    train = SingleTeacherDistill.train

    @functools.wraps(train)
    def train_but_teacher(self: SingleTeacherDistill, mode: bool = True) -> SingleTeacherDistill:
        train(self, mode)
        if not self.teacher_trainable:
            self.teacher.eval()
            if not self.teacher_norm_eval:
                for module in self.teacher.modules():
                    if isinstance(module, _BatchNorm):
                        module.train(mode)
        return self

    SingleTeacherDistill.train = train_but_teacher


def masked_generation(self: MGDConnector, feature: torch.Tensor) -> torch.Tensor:
    """Generate the teacher's feature from a masked one; the mask is drawn on its device.

    All releases draw it on the CPU, so that each step waits for a GPU to take it. On a CPU the
    result is theirs to the bit.
    """
    if self.align is not None:
        feature = self.align(feature)
    n, c, h, w = feature.shape
    shape = (n, c, 1, 1) if self.mask_on_channel else (n, 1, h, w)
    kept = torch.rand(shape, device=feature.device) <= 1 - self.lambda_mgd
    return self.generation(feature * kept)


def apply() -> None:
    """Apply every repair of this module."""
    MGDConnector.forward_train = masked_generation
    restore_inplace_guard()
    repair_train('mmrazor')
    freeze_teacher()
