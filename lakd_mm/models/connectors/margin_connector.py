"""OFD's margin ReLU."""

import math

import torch
import torch.nn as nn
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError, near_names


def batchnorm_margin(norm: nn.Module) -> torch.Tensor:
    r"""The mean of what BatchNorm gives below zero, for each channel.

    .. math::
        m = E[x \mid x < 0] = \beta - |\gamma| \frac{\varphi(\beta / |\gamma|)}
            {\Phi(-\beta / |\gamma|)}, \quad x \sim N(\beta, \gamma^2)

    and -3 gamma where less than 0.1 % lies below zero (OFD, Eq. 3 and its authors' code).

    Args:
        norm (nn.Module): A BatchNorm with weights.

    Returns:
        torch.Tensor: Shape (C, ), not above zero.
    """
    scale, shift = norm.weight.detach().abs(), norm.bias.detach()
    ratio = shift / scale
    below = 0.5 * torch.erfc(ratio / math.sqrt(2))
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    return torch.where(below > 1e-3, shift - scale * density / below, -3 * scale)


@MODELS.register_module()
class MarginConnector(BaseConnector):
    """The teacher's transform of OFD: values below a negative margin are raised to it.

    From `A Comprehensive Overhaul of Feature Distillation <https://arxiv.org/abs/1904.01866>`_
    (ICCV 2019, Eq. 2 and 3). The margin is read from the teacher's BatchNorm at every step, so that
    it is right however the weights arrived; MMRazor's ``OFDTeacherConnector`` keeps that of the
    moment in which the model was built.

    Args:
        norm (str): Name of the BatchNorm in front of the ReLU.
        init_cfg (dict, optional): Defaults to None.
    """

    def __init__(self, norm: str, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.norm = norm
        self._attached = ()

    def attach(self, model: nn.Module):
        """Read the BatchNorm of ``model`` from now on.

        Raises:
            ConfigError: If ``model`` has no such BatchNorm, or it has no weights.
        """
        modules = dict(model.named_modules())
        layer = modules.get(self.norm)
        if not isinstance(layer, _BatchNorm) or layer.weight is None:
            norms = [name for name, module in modules.items() if isinstance(module, _BatchNorm)]
            raise ConfigError(
                f'MarginConnector: {type(model).__name__} has no BatchNorm with weights '
                f'{self.norm!r}; {near_names(self.norm, norms)}'
            )
        # In a tuple, so that the layer is not registered a second time as this module's own.
        self._attached = (layer,)

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Raise a feature of shape (N, C, H, W), recorded before its ReLU, to the margin."""
        if not self._attached:
            raise RuntimeError(
                'MarginConnector is attached to no network; use it in a mmrazor.LocalDistiller'
            )
        margin = batchnorm_margin(self._attached[0]).to(feature.dtype)
        return torch.maximum(feature, margin[None, :, None, None])
