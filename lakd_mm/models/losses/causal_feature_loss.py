"""Feature alignment where the teacher's feature matters."""

import torch
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .feature_loss import MaskedFeatureLoss
from .pooling import average_pool


@MODELS.register_module()
class CausalFALoss(MaskedFeatureLoss):
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

    def compare(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compare features inside the mask."""
        if s_feature.shape[1] != t_feature.shape[1]:
            raise ConfigError(
                f'CausalFALoss: the student has {s_feature.shape[1]} channels, the teacher '
                f"{t_feature.shape[1]}; give a connector, such as 'auto'"
            )
        error = (s_feature - t_feature).square().mean(dim=1, keepdim=True)
        mask = average_pool(mask, error.shape[-2:]).to(error)
        area = mask.sum(dim=(1, 2, 3))
        inside = (mask * error).sum(dim=(1, 2, 3)) / area.clamp_min(torch.finfo(area.dtype).tiny)
        return inside.mean()
