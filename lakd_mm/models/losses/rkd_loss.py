"""Relational knowledge distillation: distances and angles between the images of a batch."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError


def relative_distances(vectors: torch.Tensor) -> torch.Tensor:
    """Compute the Euclidean distance of each two vectors, divided by the mean over pairs.

    Args:
        vectors (torch.Tensor): Shape (N, D).

    Returns:
        torch.Tensor: Shape (N, N), with zeros on the diagonal.
    """
    square = vectors.square().sum(dim=1)
    squared = square[:, None] + square - 2 * vectors @ vectors.T
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    distance = squared.clamp_min(1e-12).sqrt().masked_fill(itself, 0)
    mean = distance.sum() / max(len(vectors) * (len(vectors) - 1), 1)
    return distance / mean.clamp_min(torch.finfo(mean.dtype).tiny)


def angles(vectors: torch.Tensor) -> torch.Tensor:
    """Compute the cosine of the angle that each two vectors form at each third.

    Args:
        vectors (torch.Tensor): Shape (N, D).

    Returns:
        torch.Tensor: Shape (N, N, N), the corner first; 0 where two of the three are the same.
    """
    sides = F.normalize(vectors - vectors[:, None], dim=2)
    return sides @ sides.transpose(1, 2)


class _RelationalLoss(nn.Module):
    """Smooth L1 loss between the relations of the student's vectors and of the teacher's."""

    def __init__(self, loss_weight: float, with_l2_norm: bool):
        super().__init__()
        self.loss_weight = loss_weight
        self.with_l2_norm = with_l2_norm

    def forward(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare relations.

        Args:
            s_feature (torch.Tensor): The student's vectors, shape (N, ...), flattened to (N, D).
            t_feature (torch.Tensor): The teacher's, shape (N, ...); constants. D may differ.

        Returns:
            torch.Tensor: The weighted loss, a scalar; 0 for a single image.

        Raises:
            ConfigError: If the numbers of images differ.
        """
        if len(s_feature) != len(t_feature):
            raise ConfigError(
                f'{type(self).__name__}: {len(s_feature)} images of the student and '
                f'{len(t_feature)} of the teacher; give both the same images'
            )
        student, teacher = (self._relations(f) for f in (s_feature, t_feature.detach()))
        return self.loss_weight * F.smooth_l1_loss(student, teacher)

    def _relations(self, feature: torch.Tensor) -> torch.Tensor:
        vectors = feature.flatten(1)
        return self.relation(F.normalize(vectors, dim=1) if self.with_l2_norm else vectors)


@MODELS.register_module()
class RKDDistanceLoss(_RelationalLoss):
    r"""Distance-wise loss of relational knowledge distillation (RKD).

    .. math::
        L = \frac{1}{N^2} \sum_{i, j} \ell_1\Big(
            \frac{\|s_i - s_j\|}{\mu_S}, \frac{\|t_i - t_j\|}{\mu_T}\Big)

    with :math:`\ell_1` the smooth L1 loss and :math:`\mu` the mean distance of two images. From
    `Relational Knowledge Distillation <https://arxiv.org/abs/1904.05068>`_ (CVPR 2019, Eq. 7 to 9,
    with the mean of its authors' code). It equals MMRazor's ``DistanceWiseRKD``, but no shape in it
    depends on data, so a GPU need not wait for it and a CUDA graph can hold it.

    Args:
        loss_weight (float): Defaults to 25.0, as in the literature.
        with_l2_norm (bool): Whether vectors get unit norm first. Defaults to False, as in the
            paper; MMRazor's default is True.

    Examples:
        >>> transfers = dict(
        ...     loss_rkd=dict(loss=dict(type='mmrazor.RKDDistanceLoss'), at='pooled'))
    """

    relation = staticmethod(relative_distances)

    def __init__(self, loss_weight: float = 25.0, with_l2_norm: bool = False):
        super().__init__(loss_weight, with_l2_norm)


@MODELS.register_module()
class RKDAngleLoss(_RelationalLoss):
    r"""Angle-wise loss of relational knowledge distillation (RKD).

    .. math::
        L = \frac{1}{N^3} \sum_{i, j, k} \ell_1\big( \cos \angle s_j s_i s_k, \;
            \cos \angle t_j t_i t_k \big)

    with :math:`\ell_1` the smooth L1 loss and the corner of the angle in the middle. From
    `Relational Knowledge Distillation <https://arxiv.org/abs/1904.05068>`_ (CVPR 2019, Eq. 10 to
    12, with the mean of its authors' code). It equals MMRazor's ``AngleWiseRKD``.

    Args:
        loss_weight (float): Defaults to 50.0, as in the literature.
        with_l2_norm (bool): Whether vectors get unit norm first. Defaults to False, as in the
            paper; MMRazor's default is True.
    """

    relation = staticmethod(angles)

    def __init__(self, loss_weight: float = 50.0, with_l2_norm: bool = False):
        super().__init__(loss_weight, with_l2_norm)
