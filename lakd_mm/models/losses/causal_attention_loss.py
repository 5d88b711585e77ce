"""Attention transfer where the teacher's feature matters."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive
from .attention_transfer_loss import attention_map, check_maps, match_sizes


@MODELS.register_module()
class CausalATLoss(nn.Module):
    r"""Attention transfer inside a mask.

    .. math::
        L = \frac{1}{N H W} \sum_n \| n(M_n A(F^S_n)) - n(M_n A(F^T_n)) \|_2^2

    where :math:`A = \operatorname{mean}_C |F|^p`, n scales to unit norm over positions, and M is
    the mask. A mask of ones gives :class:`AttentionTransferLoss`; a mask of zeros gives zero. This
    is the "masked attention transfer, using squared activation maps filtered by causal masks" of
    the report on causal-masked distillation (Ben Simon, Aviv and Loria, Afeka College), which has
    no formula; the norm and the mean are those of attention transfer.

    Args:
        p (float): The exponent. Defaults to 2.
        loss_weight (float): Defaults to 1.0; attention transfer uses 1000 at each stage.

    Examples:
        >>> transfer = dict(
        ...     loss=dict(type='mmrazor.CausalATLoss', loss_weight=1000.0),
        ...     at=[2, 3], connector=None, mask=dict(percentile=85))
    """

    def __init__(self, p: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        check_positive('CausalATLoss', p=p)
        self.p = p
        self.loss_weight = loss_weight

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compare attention, after pooling the larger feature and the mask to the smaller size.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C', H', W'); a constant.
            mask (torch.Tensor): Shape (N, 1, H'', W''); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If a feature has no spatial extent.
        """
        check_maps('CausalATLoss', s_feature, t_feature)
        s_feature, t_feature = match_sizes(s_feature, t_feature.detach())
        mask = mask.detach()
        student = attention_map(s_feature, self.p, mask)
        return self.loss_weight * F.mse_loss(student, attention_map(t_feature, self.p, mask))
