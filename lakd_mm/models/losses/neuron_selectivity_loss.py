"""Neuron selectivity transfer."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from .feature_loss import FeatureLoss, check_maps, match_sizes


def polynomial_kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Compute the mean of the squared inner products of the channels of two features.

    Args:
        first (torch.Tensor): Shape (N, C, P).
        second (torch.Tensor): Shape (N, C', P).

    Returns:
        torch.Tensor: A scalar.
    """
    return (first @ second.transpose(1, 2)).square().mean()


@MODELS.register_module()
class NeuronSelectivityLoss(FeatureLoss):
    r"""Neuron selectivity transfer (NST).

    .. math::
        L = \frac{1}{N} \sum_n \Big[ \frac{1}{C'^2} \sum_{i, j} k(t_{ni}, t_{nj})
            + \frac{1}{C^2} \sum_{i, j} k(s_{ni}, s_{nj})
            - \frac{2}{C C'} \sum_{i, j} k(s_{ni}, t_{nj}) \Big], \quad k(a, b) = (a^\top b)^2

    the squared maximum mean discrepancy between the two sets of channels, each a map with unit L2
    norm. From `Like What You Like: Knowledge Distill via Neuron Selectivity Transfer
    <https://arxiv.org/abs/1707.01219>`_ (2017), with the polynomial kernel of order 2.
    Channels may differ in number; the larger map is pooled first. RepDistiller's holds a tensor of
    shape (N, C, C', H W) for each term, this one one of (N, C, C').

    Args:
        loss_weight (float): Defaults to 50.0, as in the literature.

    Examples:
        >>> transfers = dict(
        ...     loss_nst=dict(
        ...         loss=dict(type='mmrazor.NeuronSelectivityLoss'), at='stages', connector=None))
    """

    def __init__(self, loss_weight: float = 50.0):
        super().__init__(loss_weight)

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare the distributions of channels."""
        check_maps('NeuronSelectivityLoss', s_feature, t_feature)
        student, teacher = (
            F.normalize(feature.flatten(2), dim=2) for feature in match_sizes(s_feature, t_feature)
        )
        own = polynomial_kernel(teacher, teacher) + polynomial_kernel(student, student)
        return own - 2 * polynomial_kernel(student, teacher)
