"""Class attention transfer."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .pooling import average_pool


def class_attention(cams: torch.Tensor, pool_size: int, normalize: bool) -> torch.Tensor:
    """Pool class activation maps to a small grid.

    Args:
        cams (torch.Tensor): Class activation maps, shape (N, K, H, W).
        pool_size (int): Side r of the grid.
        normalize (bool): Whether each class's grid gets unit L2 norm.

    Returns:
        torch.Tensor: Shape (N, K, r * r).
    """
    pooled = average_pool(cams, (pool_size, pool_size)).flatten(2)
    return F.normalize(pooled, dim=2) if normalize else pooled


@MODELS.register_module()
class CATLoss(nn.Module):
    r"""Class attention transfer loss of CAT-KD.

    .. math::
        L_{CAT} = \frac{1}{N K r^2} \sum_{n, k}
            \| \phi(A^S_{nk}) - \phi(A^T_{nk}) \|_2^2

    where A are the class activation maps and phi is average pooling to r x r, normalised or not.
    From `Class Attention Transfer Based Knowledge Distillation <https://arxiv.org/abs/2304.12777>`_
    (CVPR 2023). The paper sums over positions; its code takes the mean, and so does this loss. Its
    ``loss_weight`` is therefore r^2 times the paper's.

    Args:
        pool_size (int): Side r of the pooled maps. Defaults to 2.
        normalize (bool): Whether each pooled map gets unit L2 norm. Defaults to False.
        loss_weight (float): Defaults to 1.0.

    Examples:
        >>> loss = dict(type='mmrazor.CATLoss', pool_size=2, loss_weight=0.7)
    """

    def __init__(self, pool_size: int = 2, normalize: bool = False, loss_weight: float = 1.0):
        super().__init__()
        if pool_size < 1:
            raise ConfigError(f'CATLoss: pool_size={pool_size} is not a positive integer')
        self.pool_size = pool_size
        self.normalize = normalize
        self.loss_weight = loss_weight

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        """Compare class activation maps.

        Args:
            preds_S (torch.Tensor): The student's maps, shape (N, K, H, W).
            preds_T (torch.Tensor): The teacher's maps, shape (N, K, H', W'); a constant. The
                spatial sizes may differ, since both are pooled.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If the two do not have the same number of images and classes.
        """
        if preds_S.shape[:2] != preds_T.shape[:2]:
            raise ConfigError(
                f'CATLoss: the student has maps of shape {tuple(preds_S.shape)}, the teacher of '
                f'{tuple(preds_T.shape)}; images and classes must agree'
            )
        student = class_attention(preds_S, self.pool_size, self.normalize)
        teacher = class_attention(preds_T.detach(), self.pool_size, self.normalize)
        return self.loss_weight * F.mse_loss(student, teacher)
