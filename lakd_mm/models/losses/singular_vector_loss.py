"""Distillation of singular vectors."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError, check_positive


def singular_vectors(feature: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the leading singular values of a map, and their vectors over channels.

    They are eigenvectors of its C x C Gram matrix, a smaller problem than its own decomposition.
    Their gradient is that of first-order perturbation. It leaves out equal eigenvalues, such as the
    zeros of channels that are off, where PyTorch's would be NaN.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        count (int): How many of them.

    Returns:
        Tuple[torch.Tensor, torch.Tensor]: Values, shape (N, count), without a gradient, and unit
        vectors, shape (N, C, count); the sum of a vector is not negative.
    """
    positions = feature.flatten(2)
    gram = positions @ positions.transpose(1, 2)
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(gram)
        values, vectors = values.flip(1), vectors.flip(2)
        leading = vectors[:, :, :count]
        leading = leading * leading.sum(dim=1, keepdim=True).sign().where(
            leading.sum(dim=1, keepdim=True) != 0, 1.0
        )
        gap = values[:, None, :count] - values[:, :, None]
        least = 1e-6 * values[:, :1, None].clamp_min(torch.finfo(values.dtype).tiny)
        inverse = gap.reciprocal().where(gap.abs() > least, 0.0)
    change = vectors.transpose(1, 2) @ (gram - gram.detach()) @ leading
    return values[:, :count].clamp_min(0).sqrt(), leading + vectors @ (change * inverse)


def aligned(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Choose for each of the teacher's vectors the student's most similar one, with its sign.

    Args:
        student (torch.Tensor): Shape (N, C, K').
        teacher (torch.Tensor): Shape (N, C, K).

    Returns:
        torch.Tensor: Shape (N, C, K).
    """
    cosines = student.transpose(1, 2) @ teacher
    best = cosines.detach().abs().argmax(dim=1, keepdim=True)
    sign = cosines.detach().gather(1, best).sign()
    return sign * student.gather(2, best.expand(-1, student.shape[1], -1))


@MODELS.register_module()
class SingularVectorLoss(nn.Module):
    r"""Distillation of singular vectors (KDSVD).

    .. math::
        L = \frac{1}{N} \sum_n \sum_{l > 1} \sum_{i, j, k} \big( R^S_{lijk} - R^T_{lijk} \big)^2,
            \quad R_{lijk} = \exp \Big( -\frac{(v_{lik} - v_{l-1,jk})^2}{8} \Big)

    with :math:`v_l` the first ``count`` singular vectors over the channels of feature l, weighted
    by the teacher's singular values (of unit norm over k); the student's are chosen among three
    more by their cosine. From `Self-supervised Knowledge Distillation Using Singular Value
    Decomposition <https://arxiv.org/abs/1807.06819>`_ (ECCV 2018), as RepDistiller compares them.

    It takes all places of a transfer together. In a student that is cut into modules, these have to
    lie in one of them. Student and teacher need features of the same channels.

    Args:
        count (int): Singular vectors of each feature. Defaults to 1, as in the literature.
        loss_weight (float): Defaults to 1.0, as in the literature.

    Examples:
        >>> transfers = dict(
        ...     loss_kdsvd=dict(loss=dict(type='mmrazor.SingularVectorLoss'), at='stages'))
    """

    together = True

    def __init__(self, count: int = 1, loss_weight: float = 1.0):
        super().__init__()
        check_positive('SingularVectorLoss', count=count)
        self.count = count
        self.loss_weight = loss_weight

    def forward(
        self, s_features: Sequence[torch.Tensor], t_features: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Compare how the vectors of features that follow each other differ.

        Args:
            s_features (Sequence[Tensor]): The student's, two or more, shapes (N, C, H, W).
            t_features (Sequence[Tensor]): The teacher's, as many, shapes (N, C, H', W'); constants.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If there are fewer than two features, or their channels differ.
        """
        shapes = [[tuple(f.shape[:2]) for f in features] for features in (s_features, t_features)]
        if len(s_features) < 2 or shapes[0] != shapes[1]:
            raise ConfigError(
                f'SingularVectorLoss: features of (N, C) {shapes[0]} and {shapes[1]}; give two '
                f'places or more, with the same channels in both networks'
            )
        kernels: list = [[], []]
        before = None
        for student, teacher in zip(s_features, t_features):
            weights, of_teacher = singular_vectors(teacher.detach(), self.count)
            of_student = aligned(singular_vectors(student, self.count + 3)[1], of_teacher)
            weights = F.normalize(weights, dim=1)[:, None]
            now = of_student * weights, of_teacher * weights
            if before is not None:
                for kernel, vector, previous in zip(kernels, now, before):
                    difference = vector[:, :, None] - previous[:, None]
                    kernel.append((-difference.square() / 8).exp().flatten(1))
            before = now
        student, teacher = (torch.cat(kernel, dim=1) for kernel in kernels)
        return self.loss_weight * (student - teacher).square().sum() / len(student)
