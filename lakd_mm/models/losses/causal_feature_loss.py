"""Feature alignment where the teacher's feature matters."""

import torch
import torch.nn as nn
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .attention_transfer_loss import check_maps, match_sizes
from .pooling import average_pool


@MODELS.register_module()
class CausalFALoss(nn.Module):
    r"""Mean squared error of features inside a mask.

    .. math::
        L = \frac{1}{N} \sum_n \frac{\sum_{HW} M_n \| F^S_n - F^T_n \|_C^2}{C \sum_{HW} M_n}

    A mask of ones gives the mean squared error; an image whose mask is zero adds nothing. This is
    the "masked mean squared error loss, applied only to causally relevant regions" of the report on
    causal-masked distillation (Ben Simon, Aviv and Loria, Afeka College), which has no formula.
    This loss takes the mean inside each image's mask, so a large mask weighs no more than a small
    one.

    Args:
        loss_weight (float): Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compare features, after pooling the larger one and the mask to the smaller size.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C, H', W'); a constant.
            mask (torch.Tensor): Shape (N, 1, H'', W''); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If a feature has no spatial extent, or their channels differ.
        """
        check_maps('CausalFALoss', s_feature, t_feature)
        if s_feature.shape[1] != t_feature.shape[1]:
            raise ConfigError(
                f'CausalFALoss: the student has {s_feature.shape[1]} channels, the teacher '
                f"{t_feature.shape[1]}; give a connector, such as 'auto'"
            )
        s_feature, t_feature = match_sizes(s_feature, t_feature.detach())
        error = (s_feature - t_feature).square().mean(dim=1, keepdim=True)
        mask = average_pool(mask.detach(), error.shape[-2:]).to(error)
        area = mask.sum(dim=(1, 2, 3))
        inside = (mask * error).sum(dim=(1, 2, 3)) / area.clamp_min(torch.finfo(area.dtype).tiny)
        return self.loss_weight * inside.mean()
