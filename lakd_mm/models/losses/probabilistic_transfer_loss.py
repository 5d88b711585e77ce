"""Probabilistic knowledge transfer."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from .feature_loss import FeatureLoss


def neighbour_probabilities(feature: torch.Tensor, eps: float) -> torch.Tensor:
    """Compute how probable each image is as the neighbour of another, from their cosines.

    Args:
        feature (torch.Tensor): Shape (N, ...).
        eps (float): Added to the norm of a vector.

    Returns:
        torch.Tensor: Shape (N, N); rows sum to 1.
    """
    vectors = feature.flatten(1)
    vectors = vectors / (vectors.norm(dim=1, keepdim=True) + eps)
    return F.normalize((vectors @ vectors.T + 1) / 2, p=1.0, dim=1)


@MODELS.register_module()
class ProbabilisticTransferLoss(FeatureLoss):
    r"""Probabilistic knowledge transfer (PKT).

    .. math::
        L = \frac{1}{N^2} \sum_{i, j} p^T_{j|i} \log \frac{p^T_{j|i} + \epsilon}
            {p^S_{j|i} + \epsilon}, \quad
            p_{j|i} = \frac{k(f_j, f_i)}{\sum_k k(f_k, f_i)}, \quad
            k(a, b) = \frac{1}{2} \Big( \frac{a^\top b}{\|a\| \|b\|} + 1 \Big)

    From `Learning Deep Representations with Probabilistic Knowledge Transfer
    <https://arxiv.org/abs/1803.10837>`_ (ECCV 2018). The mean over all pairs, an image
    and itself included, is that of its authors' code; the paper sums over different images.

    Args:
        eps (float): Defaults to 1e-7.
        loss_weight (float): Defaults to 30000.0, as in the literature.

    Examples:
        >>> transfers = dict(
        ...     loss_pkt=dict(loss=dict(type='mmrazor.ProbabilisticTransferLoss'), at='pooled'))
    """

    def __init__(self, eps: float = 1e-7, loss_weight: float = 30000.0):
        super().__init__(loss_weight)
        self.eps = eps

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare probabilities."""
        student, teacher = (
            neighbour_probabilities(feature, self.eps) for feature in (s_feature, t_feature)
        )
        return (teacher * ((teacher + self.eps) / (student + self.eps)).log()).mean()
