"""Knowledge distillation of standardised logits."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive


def standardized(logits: torch.Tensor) -> torch.Tensor:
    """Give the logits of each image mean 0 and standard deviation 1.

    Args:
        logits (torch.Tensor): Shape (N, K).

    Returns:
        torch.Tensor: Shape (N, K).
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + 1e-7)


@MODELS.register_module()
class StandardizedKLLoss(nn.Module):
    r"""KD of logits that are standardised image by image (logit standardisation, LSKD).

    .. math::
        L = \tau^2 \frac{1}{N} \sum_n KL\big( \sigma(\mathcal{Z}(t_n) / \tau) \,\|\,
            \sigma(\mathcal{Z}(s_n) / \tau) \big), \quad
            \mathcal{Z}(z) = \frac{z - \bar{z}}{\mathrm{std}(z)}

    From `Logit Standardization in Knowledge Distillation <https://arxiv.org/abs/2403.01427>`_
    (CVPR 2024). The standard deviation divides by K - 1, as in its authors' code.

    Args:
        tau (float): Temperature. Defaults to 2.0, as published for CIFAR-100.
        loss_weight (float): Defaults to 9.0, as published for CIFAR-100.

    Examples:
        >>> transfers = dict(
        ...     loss_lskd=dict(loss=dict(type='mmrazor.StandardizedKLLoss'), at='logits'))
    """

    def __init__(self, tau: float = 2.0, loss_weight: float = 9.0):
        super().__init__()
        check_positive('StandardizedKLLoss', tau=tau)
        self.tau = tau
        self.loss_weight = loss_weight

    def forward(self, preds_S: torch.Tensor, preds_T: torch.Tensor) -> torch.Tensor:
        """Compare logits.

        Args:
            preds_S (torch.Tensor): The student's logits, shape (N, K).
            preds_T (torch.Tensor): The teacher's logits, shape (N, K); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.
        """
        student, teacher = (
            (standardized(logits) / self.tau).log_softmax(dim=1)
            for logits in (preds_S, preds_T.detach())
        )
        divergence = F.kl_div(student, teacher, reduction='batchmean', log_target=True)
        return self.loss_weight * self.tau**2 * divergence
