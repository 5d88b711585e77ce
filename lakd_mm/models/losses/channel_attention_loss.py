"""Transfer of channel attention: how active each channel is."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .feature_loss import FeatureLoss


def channel_attention(feature: torch.Tensor) -> torch.Tensor:
    """Compute how active each channel of a feature is, ``mean_HW F^2``, with unit L2 norm.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).

    Returns:
        torch.Tensor: Shape (N, C).
    """
    return F.normalize(feature.square().mean(dim=(2, 3)), dim=1)


@MODELS.register_module()
class ChannelAttentionLoss(FeatureLoss):
    r"""Distance between the channel attention of student and teacher.

    .. math::
        L = \frac{1}{N} \sum_n \| \hat{g}(F^S_n) - \hat{g}(F^T_n) \|_2^2, \qquad
        g(F) = \operatorname{mean}_{HW} F^2

    where :math:`\hat{g}` has unit norm: :class:`AttentionTransferLoss` over channels instead of
    positions. Map sizes may differ, numbers of channels may not. It is derived again from the
    abstract of `Hierarchical Multi-Attention Transfer <https://doi.org/10.1145/3568679>`_ (HMAT,
    TOMM 2024), which uses "channel-based" attention at high levels but publishes no formula. The
    formula and the defaults are ours.

    Args:
        loss_weight (float): Defaults to 1.0.

    Examples:
        >>> transfer = dict(loss=dict(type='mmrazor.ChannelAttentionLoss'), at=[3])
    """

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare channel attention."""
        shapes = f'features of shape {tuple(s_feature.shape)} and {tuple(t_feature.shape)}'
        if s_feature.ndim != 4 or t_feature.ndim != 4:
            raise ConfigError(f'ChannelAttentionLoss: {shapes}; both must be (N, C, H, W)')
        if s_feature.shape[1] != t_feature.shape[1]:
            raise ConfigError(
                f'ChannelAttentionLoss: {shapes}; both must have the same channels: give the '
                f"student's a connector, such as connector='auto' in a transfer"
            )
        student, teacher = channel_attention(s_feature), channel_attention(t_feature)
        return (student - teacher).square().sum(dim=1).mean()
