"""Transfer of position attention: how positions attend to each other."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .feature_loss import FeatureLoss, check_maps
from .pooling import average_pool


def position_attention(feature: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Compute how much each position attends to every position, by the cosine of their vectors.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        temperature (float): Divisor of the cosines before the softmax. Defaults to 0.1.

    Returns:
        torch.Tensor: Shape (N, H * W, H * W); rows sum to 1.
    """
    vectors = F.normalize(feature.flatten(2), dim=1)
    return (vectors.transpose(1, 2) @ vectors / temperature).softmax(dim=2)


@MODELS.register_module()
class PositionAttentionLoss(FeatureLoss):
    r"""Distance between the position attention of student and teacher.

    .. math::
        L = \frac{1}{N H W} \sum_{n, i} \| P(F^S_n)_i - P(F^T_n)_i \|_2^2, \qquad
        P(F)_i = \operatorname{softmax}_j \frac{\cos(F_i, F_j)}{\tau}

    where i and j are positions. Numbers of channels may differ. It is derived again from the
    abstract of `Hierarchical Multi-Attention Transfer <https://doi.org/10.1145/3568679>`_ (HMAT,
    TOMM 2024), which uses "position-based" attention at low levels but publishes no formula. The
    formula and the defaults are ours. Scores are cosines, not products over :math:`\sqrt{C}` as in
    Transformers, so they depend neither on the scale of features nor on the number of channels.

    Args:
        max_size (int): Larger maps are first pooled to this height and width, since memory grows
            with the fourth power of the size. Defaults to 16.
        temperature (float): :math:`\tau`. Defaults to 0.1.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: If ``max_size`` is below 2 or the temperature is not positive.

    Examples:
        >>> transfer = dict(
        ...     loss=dict(type='mmrazor.PositionAttentionLoss', loss_weight=50.0),
        ...     at=[1], connector=None)
    """

    def __init__(self, max_size: int = 16, temperature: float = 0.1, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        if max_size < 2:
            raise ConfigError(f'PositionAttentionLoss: max_size={max_size} is below 2')
        if temperature <= 0:
            raise ConfigError(f'PositionAttentionLoss: temperature={temperature} is not positive')
        self.max_size = max_size
        self.temperature = temperature

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare position attention."""
        check_maps('PositionAttentionLoss', s_feature, t_feature)
        # Pool once, to the smallest of both sizes and max_size.
        sides = zip(s_feature.shape[2:], t_feature.shape[2:])
        size = tuple(min(*pair, self.max_size) for pair in sides)
        student, teacher = (
            position_attention(average_pool(feature, size), self.temperature)
            for feature in (s_feature, t_feature)
        )
        return (student - teacher).square().sum(dim=2).mean()
