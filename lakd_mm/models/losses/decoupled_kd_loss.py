"""Decoupled knowledge distillation."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive


def target_and_rest(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log-probabilities of the target against the rest, and of the rest among themselves.

    Args:
        logits (torch.Tensor): Shape (N, K).
        labels (torch.Tensor): The target of each image, shape (N,).

    Returns:
        Tuple[torch.Tensor, torch.Tensor]: Shapes (N, 2), target first, and (N, K - 1).
    """
    labels = labels[:, None]
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = logits.gather(1, others + (others >= labels))
    pair = torch.cat([logits.gather(1, labels), rest.logsumexp(dim=1, keepdim=True)], dim=1)
    return pair.log_softmax(dim=1), rest.log_softmax(dim=1)


@MODELS.register_module()
class DecoupledKDLoss(nn.Module):
    r"""Decoupled knowledge distillation (DKD).

    .. math::
        L = \tau^2 \frac{1}{N} \sum_n \big[ \alpha \, KL(b^T_n \| b^S_n)
            + \beta \, KL(\hat{p}^T_n \| \hat{p}^S_n) \big]

    with :math:`b` the probabilities of the target and of all other classes together, and
    :math:`\hat{p}` those of the other classes among themselves, at temperature :math:`\tau`. From
    `Decoupled Knowledge Distillation <https://arxiv.org/abs/2203.08679>`_ (CVPR 2022, Eq. 5 to 7).

    It equals MMRazor's ``DKDLoss`` with its default ``reduction='batchmean'``. That one gives the
    sum for any other reduction (its own ImageNet config has 'mean'), since it also passes PyTorch's
    old ``size_average``; and it takes the logarithm of probabilities, so that a target that
    outweighs the rest by more than float32 holds makes it infinite.

    Args:
        tau (float): Temperature. Defaults to 4.0.
        alpha (float): Weight of the target's part. Defaults to 1.0.
        beta (float): Weight of the others' part. Defaults to 8.0.
        loss_weight (float): Defaults to 1.0.

    Examples:
        >>> transfers = dict(
        ...     loss_dkd=dict(
        ...         loss=dict(type='mmrazor.DecoupledKDLoss', beta=2.0), at='logits', warmup=20))
    """

    def __init__(
        self, tau: float = 4.0, alpha: float = 1.0, beta: float = 8.0, loss_weight: float = 1.0
    ):
        super().__init__()
        check_positive('DecoupledKDLoss', tau=tau)
        self.tau = tau
        self.alpha = alpha
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(
        self, preds_S: torch.Tensor, preds_T: torch.Tensor, gt_labels: torch.Tensor
    ) -> torch.Tensor:
        """Compare logits.

        Args:
            preds_S (torch.Tensor): The student's logits, shape (N, K).
            preds_T (torch.Tensor): The teacher's logits, shape (N, K); a constant.
            gt_labels (torch.Tensor): Labels, shape (N,).

        Returns:
            torch.Tensor: The weighted loss, a scalar.
        """
        student = target_and_rest(preds_S / self.tau, gt_labels)
        teacher = target_and_rest(preds_T.detach() / self.tau, gt_labels)
        target, rest = (
            F.kl_div(s, t, reduction='batchmean', log_target=True) for s, t in zip(student, teacher)
        )
        return self.loss_weight * self.tau**2 * (self.alpha * target + self.beta * rest)
