"""Correlation congruence."""

import math
from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError, refuse_ignored
from .feature_loss import FeatureLoss


def gaussian_correlation(feature: torch.Tensor, gamma: float, order: int) -> torch.Tensor:
    """Compute the Gaussian kernel between images, as its Taylor series in their cosines.

    Args:
        feature (torch.Tensor): Shape (N, ...).
        gamma (float): The kernel is ``exp(-gamma ||a - b||^2)`` of vectors with unit norm.
        order (int): The highest power.

    Returns:
        torch.Tensor: Shape (N, N).
    """
    vectors = F.normalize(feature.flatten(1), dim=1)
    cosines = vectors @ vectors.T
    terms = ((2 * gamma * cosines) ** p / math.factorial(p) for p in range(order + 1))
    return math.exp(-2 * gamma) * sum(terms)


@MODELS.register_module()
class CorrelationCongruenceLoss(FeatureLoss):
    r"""Correlation congruence (CC), the paper's or the one that the literature compares with.

    .. math::
        L_{gaussian} = \frac{1}{N^2} \| C^S - C^T \|_F^2, \quad
            L_{neighbours} = \frac{1}{N - 1} \sum_{n=1}^{N-1}
            | W_S s_n - W_T t_n |^\top | W_S s_{n+1} - W_T t_{n+1} |

    with C the kernel of :func:`gaussian_correlation` and W two linear layers that are trained.
    The first is that of `Correlation Congruence for Knowledge Distillation
    <https://arxiv.org/abs/1904.01802>`_ (ICCV 2019). The second one, products of the
    errors of images that follow each other in the batch, is what RepDistiller runs under this name;
    its tables, which others quote, are of that one.

    Args:
        kernel (str): 'gaussian' or 'neighbours'. Defaults to 'gaussian'.
        gamma (float): Of the kernel. Defaults to 0.4, as in the paper.
        order (int): Of its Taylor series. Defaults to 2, as in the paper.
        dim (int): Width of the embedding of 'neighbours'. Defaults to 128, as in RepDistiller.
        student_channels (int, optional): Width of the student's vectors, which 'neighbours' needs.
            Defaults to None.
        teacher_channels (int, optional): Width of the teacher's. Defaults to None.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: If the kernel is unknown, or an argument would be ignored with it.

    Examples:
        >>> transfers = dict(
        ...     loss_cc=dict(
        ...         loss=dict(
        ...             type='mmrazor.CorrelationCongruenceLoss', kernel='neighbours',
        ...             loss_weight=0.02),
        ...         at='pooled'))
    """

    def __init__(
        self,
        kernel: str = 'gaussian',
        gamma: float = 0.4,
        order: int = 2,
        dim: int = 128,
        student_channels: Optional[int] = None,
        teacher_channels: Optional[int] = None,
        loss_weight: float = 1.0,
    ):
        super().__init__(loss_weight)
        if kernel not in ('gaussian', 'neighbours'):
            raise ConfigError(
                f"CorrelationCongruenceLoss: kernel={kernel!r} is neither 'gaussian' nor "
                f"'neighbours'"
            )
        ignored = dict(dim=dim) if kernel == 'gaussian' else dict(gamma=gamma, order=order)
        refuse_ignored(type(self), f'with kernel={kernel!r}; leave it out', **ignored)
        self.kernel = kernel
        self.gamma = gamma
        self.order = order
        self.embeddings = None
        if kernel == 'neighbours':
            if None in (student_channels, teacher_channels):
                raise ConfigError(
                    "CorrelationCongruenceLoss: kernel='neighbours' needs student_channels and "
                    'teacher_channels'
                )
            self.embeddings = nn.ModuleList(
                nn.Linear(channels, dim) for channels in (student_channels, teacher_channels)
            )

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare correlations, or embeddings."""
        features = (s_feature, t_feature)
        if self.embeddings is None:
            return F.mse_loss(*(gaussian_correlation(f, self.gamma, self.order) for f in features))
        student, teacher = (layer(f.flatten(1)) for layer, f in zip(self.embeddings, features))
        error = (student - teacher).abs()
        return (error[:-1] * error[1:]).sum() / max(len(error) - 1, 1)
