"""What losses share that compare a feature of the student with one of the teacher."""

import torch
import torch.nn as nn

from ...errors import ConfigError
from .pooling import average_pool


class FeatureLoss(nn.Module):
    """Base of losses of two feature maps: a subclass has ``compare``, the loss without its weight.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare a feature of the student with one of the teacher.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C', H', W'); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If a feature is no map of several positions, or the two do not fit.
        """
        return self.loss_weight * self.compare(s_feature, t_feature.detach())


class MaskedFeatureLoss(FeatureLoss):
    """Base of losses of two feature maps inside a mask, which ``compare`` gets too.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 1.0.
    """

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compare, after pooling the larger feature and the mask to the smaller size.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C', H', W'); a constant.
            mask (torch.Tensor): Shape (N, 1, H'', W''); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If a feature is no map of several positions, or the two do not fit.
        """
        check_maps(type(self).__name__, s_feature, t_feature)
        features = match_sizes(s_feature, t_feature.detach())
        return self.loss_weight * self.compare(*features, mask.detach())


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


def check_maps(name: str, *features: torch.Tensor, of_one: bool = False):
    """Raise a ConfigError unless all are maps (N, C, H, W), of one position only if ``of_one``."""
    for feature in features:
        if feature.ndim != 4 or not of_one and feature[0, 0].numel() == 1:
            positions = '' if of_one else ' with more than one position'
            raise ConfigError(
                f'{name}: a feature of shape {tuple(feature.shape)}; it must be (N, C, H, W)'
                f'{positions}'
            )


def check_equal_maps(
    name: str, student: torch.Tensor, teacher: torch.Tensor, in_channels: int, remedy: str
):
    """Raise a ConfigError unless both are (N, C, H, W) of one shape with ``in_channels``."""
    shapes = f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}"
    if student.shape != teacher.shape:
        advice = f'give a connector for the channels, and {remedy}'
        raise ConfigError(f'{name}: {shapes} differ; {advice}')
    if student.ndim != 4 or student.shape[1] != in_channels:
        raise ConfigError(f'{name}: {shapes} are not (N, C, H, W) with in_channels={in_channels}')
