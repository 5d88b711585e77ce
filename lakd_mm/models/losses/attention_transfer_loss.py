"""Attention transfer."""

from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError, check_positive
from .pooling import average_pool


def match_sizes(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pool the larger of two feature maps to the size of the smaller.

    Args:
        first (torch.Tensor): Shape (N, C, H, W).
        second (torch.Tensor): Shape (N, C', H', W').

    Returns:
        Tuple[torch.Tensor, torch.Tensor]: Both with the smaller height and the smaller width.
    """
    size = tuple(min(sides) for sides in zip(first.shape[-2:], second.shape[-2:]))
    return average_pool(first, size), average_pool(second, size)


def check_maps(name: str, *features: torch.Tensor):
    """Raise a ConfigError unless all are maps of shape (N, C, H, W) with more than one position."""
    for feature in features:
        if feature.ndim != 4 or feature[0, 0].numel() == 1:
            raise ConfigError(
                f'{name}: a feature of shape {tuple(feature.shape)}; it must be (N, C, H, W) with '
                f'more than one position'
            )


def spatial_attention(feature: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    """Compute how active a feature map is at each position, ``mean_C |F|^p``.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        p (float): The exponent. Defaults to 2.

    Returns:
        torch.Tensor: Shape (N, 1, H, W).
    """
    power = feature.square() if p == 2 else feature.abs().pow(p)
    return power.mean(dim=1, keepdim=True)


def attention_map(
    feature: torch.Tensor, p: float = 2.0, mask: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Compute :func:`spatial_attention` with unit L2 norm in each sample.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        p (float): The exponent. Defaults to 2.
        mask (torch.Tensor, optional): Factor of the attention before it is normalised, shape
            (N, 1, H', W'); pooled or repeated to (H, W). Defaults to None.

    Returns:
        torch.Tensor: Shape (N, H * W); zeros where a mask is all zeros.
    """
    attention = spatial_attention(feature, p)
    if mask is not None:
        attention = attention * average_pool(mask, attention.shape[-2:])
    return F.normalize(attention.flatten(1), dim=1)


@MODELS.register_module()
class AttentionTransferLoss(nn.Module):
    r"""Activation-based attention transfer (AT).

    .. math::
        L = \frac{1}{N H W} \sum_n \| \hat{A}(F^S_n) - \hat{A}(F^T_n) \|_2^2

    with A the spatial attention of :func:`attention_map`. From `Paying More Attention to Attention
    <https://arxiv.org/abs/1612.03928>`_ (ICLR 2017, Eq. 2, with the mean of its authors'
    code). MMRazor's ``ATLoss`` is the same for maps of one size and refuses others. This one first
    pools the larger map, as the literature does.

    Args:
        p (float): The exponent. Defaults to 2.
        loss_weight (float): Defaults to 1.0; the literature uses 1000 at each stage.

    Examples:
        >>> loss = dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0)
    """

    def __init__(self, p: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        check_positive('AttentionTransferLoss', p=p)
        self.p = p
        self.loss_weight = loss_weight

    def forward(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare attention.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C', H', W'); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If one of them has no spatial extent.
        """
        check_maps('AttentionTransferLoss', s_feature, t_feature)
        s_feature, t_feature = match_sizes(s_feature, t_feature.detach())
        student, teacher = attention_map(s_feature, self.p), attention_map(t_feature, self.p)
        return self.loss_weight * F.mse_loss(student, teacher)
