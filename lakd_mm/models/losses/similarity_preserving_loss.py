"""Similarity-preserving distillation."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from .feature_loss import FeatureLoss


def image_similarity(feature: torch.Tensor) -> torch.Tensor:
    """Compute the inner products of the images of a batch, each row with unit L2 norm.

    Args:
        feature (torch.Tensor): Shape (N, ...).

    Returns:
        torch.Tensor: Shape (N, N).
    """
    vectors = feature.flatten(1)
    return F.normalize(vectors @ vectors.T, dim=1)


@MODELS.register_module()
class SimilarityPreservingLoss(FeatureLoss):
    r"""Similarity-preserving distillation (SP).

    .. math::
        L = \frac{1}{N^2} \| \hat{G}^S - \hat{G}^T \|_F^2

    with :math:`\hat{G}` the inner products of :func:`image_similarity`. From `Similarity-Preserving
    Knowledge Distillation <https://arxiv.org/abs/1907.09682>`_ (ICCV 2019). Channels
    and sizes of the two may differ.

    Args:
        loss_weight (float): Defaults to 3000.0, as in the literature.

    Examples:
        >>> transfers = dict(
        ...     loss_sp=dict(
        ...         loss=dict(type='mmrazor.SimilarityPreservingLoss'), at=[3], connector=None))
    """

    def __init__(self, loss_weight: float = 3000.0):
        super().__init__(loss_weight)

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare similarities."""
        return F.mse_loss(image_similarity(s_feature), image_similarity(t_feature))
