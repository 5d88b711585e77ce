"""Variational information distillation."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive
from .feature_loss import FeatureLoss, check_maps, match_sizes


@MODELS.register_module()
class VariationalInformationLoss(FeatureLoss):
    r"""Variational information distillation (VID).

    .. math::
        L = \frac{1}{N C H W} \sum_{n, c, h, w} \frac{1}{2} \Big[ \log \sigma_c^2
            + \frac{(t_{nchw} - \mu(s)_{nchw})^2}{\sigma_c^2} \Big], \quad
            \sigma_c^2 = \log(1 + e^{\alpha_c}) + \epsilon

    with :math:`\mu` three 1x1 convolutions without bias and a ReLU between them. From `Variational
    Information Distillation for Knowledge Transfer <https://arxiv.org/abs/1904.05835>`_ (CVPR
    2019), without its constant and with the mean of its authors' code. Layers and :math:`\alpha`
    are trained along with the student. The larger map is pooled first.

    Args:
        student_channels (int): Channels of the student's feature.
        teacher_channels (int): Channels C of the teacher's.
        variance (float): The variances' start. Defaults to 5.0.
        eps (float): Their lower limit. Defaults to 1e-5.
        loss_weight (float): Defaults to 1.0, as in the literature.

    Examples:
        >>> transfers = dict(
        ...     loss_vid=dict(
        ...         loss=dict(type='mmrazor.VariationalInformationLoss'),
        ...         at='stages',
        ...         connector=None))
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        variance: float = 5.0,
        eps: float = 1e-5,
        loss_weight: float = 1.0,
    ):
        super().__init__(loss_weight)
        check_positive('VariationalInformationLoss', variance=variance - eps, eps=eps)
        self.eps = eps
        self.mean = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        alpha = math.log(math.expm1(variance - eps))
        self.alpha = nn.Parameter(torch.full((teacher_channels, 1, 1), alpha))

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compute the negative log-likelihood of the teacher's feature."""
        check_maps('VariationalInformationLoss', s_feature, t_feature, of_one=True)
        student, teacher = match_sizes(s_feature, t_feature)
        variance = F.softplus(self.alpha) + self.eps
        error = (self.mean(student) - teacher).square()
        return 0.5 * (error / variance + variance.log()).mean()
