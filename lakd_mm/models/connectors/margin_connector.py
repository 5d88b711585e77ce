"""OFD's margin ReLU."""

import math

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from .attached_connector import AttachedConnector


def batchnorm_margin(norm: nn.Module) -> torch.Tensor:
    r"""Compute the mean of BatchNorm's outputs below zero, for each channel.

    .. math::
        m = E[x \mid x < 0] = \beta - |\gamma| \frac{\varphi(\beta / |\gamma|)}
            {\Phi(-\beta / |\gamma|)}, \quad x \sim N(\beta, \gamma^2)

    or -3 gamma if less than 0.1 % lies below zero (OFD, Eq. 3 and its authors' code).

    Args:
        norm (nn.Module): A BatchNorm with weights.

    Returns:
        torch.Tensor: Shape (C, ); no value is above zero.
    """
    scale, shift = norm.weight.detach().abs(), norm.bias.detach()
    ratio = shift / scale
    below = 0.5 * torch.erfc(ratio / math.sqrt(2))
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    return torch.where(below > 1e-3, shift - scale * density / below, -3 * scale)


@MODELS.register_module()
class MarginConnector(AttachedConnector):
    """Raise values below a negative margin to it, as OFD does with the teacher's features.

    From `A Comprehensive Overhaul of Feature Distillation <https://arxiv.org/abs/1904.01866>`_
    (ICCV 2019, Eq. 2 and 3). The connector reads the margin from the teacher's BatchNorm at every
    step, so it is right however the weights were loaded; MMRazor's ``OFDTeacherConnector`` keeps
    the margin of the moment when the model was built.

    Args:
        norm (str): Name of the BatchNorm before the ReLU.
    """

    wanted = 'BatchNorm with weights'

    def __init__(self, norm: str):
        super().__init__(norm)
        self.norm = norm

    def fits(self, module: nn.Module) -> bool:
        """Return whether a module is a BatchNorm that scales and shifts."""
        return isinstance(module, _BatchNorm) and module.weight is not None

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Raise a feature of shape (N, C, H, W), recorded before its ReLU, to the margin."""
        margin = batchnorm_margin(self.layer).to(feature.dtype)
        return torch.maximum(feature, margin[None, :, None, None])
