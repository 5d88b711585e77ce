"""Attention transfer where the teacher's feature matters."""

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive
from .attention_transfer_loss import attention_map
from .feature_loss import MaskedFeatureLoss


@MODELS.register_module()
class CausalATLoss(MaskedFeatureLoss):
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
        super().__init__(loss_weight)
        check_positive('CausalATLoss', p=p)
        self.p = p

    def compare(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compare attention inside the mask."""
        return F.mse_loss(*(attention_map(x, self.p, mask) for x in (s_feature, t_feature)))
