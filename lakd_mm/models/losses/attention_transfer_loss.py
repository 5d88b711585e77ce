"""Attention transfer."""

from typing import Optional

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive
from .feature_loss import FeatureLoss, check_maps, match_sizes
from .pooling import average_pool


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
class AttentionTransferLoss(FeatureLoss):
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
        super().__init__(loss_weight)
        check_positive('AttentionTransferLoss', p=p)
        self.p = p

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare attention."""
        check_maps('AttentionTransferLoss', s_feature, t_feature)
        maps = (attention_map(x, self.p) for x in match_sizes(s_feature, t_feature))
        return F.mse_loss(*maps)
