"""Contrastive attention: pull maps of one image together, push maps of two images apart."""

from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import check_positive
from .attention_transfer_loss import spatial_attention
from .feature_loss import check_maps, match_sizes
from .pooling import average_pool


def attention_similarity(
    student: torch.Tensor, teacher: torch.Tensor, mask: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Compute the cosine of each student map with each teacher map, inside the student's mask.

    A row has one mask. If each map had its own image's mask, two maps of one image would be alike
    merely because their masks have the same shape.

    Args:
        student (torch.Tensor): Attention maps, shape (N, P).
        teacher (torch.Tensor): Attention maps, shape (N, P).
        mask (torch.Tensor, optional): Shape (N, P). Defaults to None, ones.

    Returns:
        torch.Tensor: Shape (N, N); the row of an image whose mask is zero holds zeros.
    """
    weight = torch.ones_like(student) if mask is None else mask.square()
    tiny = torch.finfo(student.dtype).tiny
    s_norm = (weight * student.square()).sum(dim=1, keepdim=True).clamp_min(tiny).sqrt()
    t_norm = (weight @ teacher.square().t()).clamp_min(tiny).sqrt()
    return (weight * student / s_norm) @ teacher.t() / t_norm


@MODELS.register_module()
class ContrastiveAttentionLoss(nn.Module):
    r"""InfoNCE between the attention maps of student and teacher.

    .. math::
        L = -\frac{1}{N} \sum_i \log \frac{\exp(a^S_i \cdot a^T_i / \tau)}
            {\sum_j \exp(a^S_i \cdot a^T_j / \tau)}

    where :math:`a` is :func:`spatial_attention` with unit norm, always inside the mask of image i.
    An image whose mask is zero adds nothing. This is the contrastive alignment that the slides on
    causal-masked distillation (Ben Simon, Aviv and Loria, Afeka College) name without a formula.
    InfoNCE is from `Representation Learning with Contrastive Predictive Coding
    <https://arxiv.org/abs/1807.03748>`_ (Eq. 4). The negatives are the other images of the batch on
    this process.

    Args:
        temperature (float): Defaults to 0.1.
        p (float): Exponent of the attention. Defaults to 2.
        loss_weight (float): Defaults to 1.0.
    """

    def __init__(self, temperature: float = 0.1, p: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        check_positive('ContrastiveAttentionLoss', temperature=temperature, p=p)
        self.temperature, self.p, self.loss_weight = temperature, p, loss_weight

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, mask: Optional[torch.Tensor] = None
    ) -> torch.Tensor:
        """Tell images apart by attention, after pooling the larger feature to the smaller size.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C', H', W'); a constant.
            mask (torch.Tensor, optional): Shape (N, 1, H'', W''); a constant.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If a feature has no spatial extent.
        """
        check_maps('ContrastiveAttentionLoss', s_feature, t_feature)
        s_feature, t_feature = match_sizes(s_feature, t_feature.detach())
        # Fourth powers of activations exceed the range of half precision.
        with torch.autocast(s_feature.device.type, enabled=False):
            return self.loss_weight * self._contrast(_at_least_float(s_feature, t_feature, mask))

    def _contrast(self, tensors: list) -> torch.Tensor:
        s_feature, t_feature, mask = tensors
        student, teacher = (spatial_attention(f, self.p).flatten(1) for f in (s_feature, t_feature))
        if mask is not None:
            mask = average_pool(mask.detach(), s_feature.shape[-2:]).flatten(1)
        similarity = attention_similarity(student, teacher, mask) / self.temperature
        labels = torch.arange(len(similarity), device=similarity.device)
        losses = F.cross_entropy(similarity, labels, reduction='none')
        if mask is not None:
            losses = losses * mask.any(dim=1)
        return losses.mean()


def _at_least_float(*tensors: Optional[torch.Tensor]) -> list:
    half = (torch.float16, torch.bfloat16)
    return [t.float() if t is not None and t.dtype in half else t for t in tensors]
