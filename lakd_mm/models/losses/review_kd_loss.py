"""Knowledge review: a feature of the teacher is compared with all deeper ones of the student."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .pooling import average_pool


def hierarchical_context_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Compare two maps as they are and pooled to 4 x 4, 2 x 2 and 1 x 1, where these are smaller.

    Args:
        student (torch.Tensor): Shape (N, C, H, W).
        teacher (torch.Tensor): Shape (N, C, H, W).

    Returns:
        torch.Tensor: The mean of the squared differences of each size, weighted by 1, 1/2, 1/4, …
        and divided by the sum of these weights.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for side in (4, 2, 1):
        if side < student.shape[2]:
            weight /= 2
            weights += weight
            pooled = (average_pool(feature, (side, side)) for feature in (student, teacher))
            total = total + weight * F.mse_loss(*pooled)
    return total / weights


class AttentionFusion(nn.Module):
    """Fuse a feature with what was fused of the deeper ones (the paper's ABF).

    Args:
        in_channels (int): Channels of the feature.
        mid_channels (int): Channels of what is handed on.
        out_channels (int): Channels of the teacher's feature.
        fuse (bool): Whether there are deeper features.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool):
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 1, bias=False), nn.BatchNorm2d(mid_channels)
        )
        self.expand = nn.Sequential(
            nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.attention = nn.Conv2d(2 * mid_channels, 2, 1) if fuse else None
        for layer in (self.reduce[0], self.expand[0]):
            nn.init.kaiming_uniform_(layer.weight, a=1)

    def forward(
        self, feature: torch.Tensor, deeper: torch.Tensor, size: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the fused feature with the teacher's channels and size, and what is handed on."""
        fused = self.reduce(feature)
        if self.attention is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode='nearest')
            weights = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * weights[:, :1] + deeper * weights[:, 1:]
        if fused.shape[2:] != tuple(size):
            fused = F.interpolate(fused, tuple(size), mode='nearest')
        return self.expand(fused), fused


@MODELS.register_module()
class ReviewKDLoss(nn.Module):
    r"""Knowledge review (ReviewKD).

    .. math::
        L = \sum_i \mathrm{HCL}\big( \mathrm{ABF}_i(s_i, r_{i+1}), \, t_i \big)

    from the deepest feature to the shallowest, where :math:`r_i` is what the fusion
    :class:`AttentionFusion` of feature i hands on and HCL is :func:`hierarchical_context_loss`.
    From `Distilling Knowledge via Knowledge Review <https://arxiv.org/abs/2104.09044>`_ (CVPR
    2021). The layers are trained along with the student.

    It takes all places of a transfer together. In a student that is cut into modules, these have to
    lie in one of them.

    Args:
        student_channels (Sequence[int]): Channels of the student's features, the shallowest first.
        teacher_channels (Sequence[int]): Channels of the teacher's.
        mid_channels (int): Upper limit of the channels of what is handed on, else those of the
            deepest feature. Defaults to 512.
        loss_weight (float): Defaults to 1.0.

    Examples:
        >>> transfers = dict(
        ...     loss_review=dict(
        ...         loss=dict(type='mmrazor.ReviewKDLoss', loss_weight=0.6),
        ...         at=['stages', 'pooled'],
        ...         warmup=20))
    """

    together = True

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        mid_channels: int = 512,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        mid_channels = min(mid_channels, student_channels[-1])
        last = len(student_channels) - 1
        self.fusions = nn.ModuleList(
            AttentionFusion(of_student, mid_channels, of_teacher, fuse=i < last)
            for i, (of_student, of_teacher) in enumerate(zip(student_channels, teacher_channels))
        )
        self.loss_weight = loss_weight

    def forward(
        self, s_features: Sequence[torch.Tensor], t_features: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Compare features.

        Args:
            s_features (Sequence[Tensor]): The student's, the shallowest first, shapes (N, C, H, W)
                or (N, C).
            t_features (Sequence[Tensor]): The teacher's, as many, shapes (N, C', H', W') or
                (N, C'); constants.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If the numbers of features differ from those of channels.
        """
        if not len(s_features) == len(t_features) == len(self.fusions):
            raise ConfigError(
                f'ReviewKDLoss: {len(s_features)} features of the student and {len(t_features)} of '
                f'the teacher for {len(self.fusions)} student_channels; give as many of each'
            )
        total, deeper = 0.0, None
        places = zip(reversed(self.fusions), reversed(s_features), reversed(t_features))
        for fusion, student, teacher in places:
            student, teacher = (
                f if f.ndim == 4 else f[..., None, None] for f in (student, teacher)
            )
            fused, deeper = fusion(student, deeper, teacher.shape[2:])
            total = total + hierarchical_context_loss(fused, teacher.detach())
        return self.loss_weight * total
