"""Feature alignment under non-directional activation mapping."""

from collections.abc import Sequence
from numbers import Integral
from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch.autograd.function import once_differentiable

from ...errors import ConfigError, near_names, refuse_ignored
from .pooling import average_pool, max_pool

_NORMALIZATIONS = ('none', 'teacher', 'channel', 'instance')
_EPS = 1e-12  # for a tap or channel that is 0 everywhere


def activation_mapping(
    source: torch.Tensor,
    avg_weight: float,
    max_weight: float,
    kernel_size: int = 3,
    use_abs: bool = True,
    count_include_pad: bool = False,
    size: Optional[Sequence[int]] = None,
) -> torch.Tensor:
    """Compute the non-directional activation mapping W (LAKD, Eq. 11 and 12), not normalised.

    Args:
        source (torch.Tensor): The tensor whose channels are summed, shape (N, C, H, W).
        avg_weight (float): The paper's alpha.
        max_weight (float): The paper's beta.
        kernel_size (int): Odd side of the stride-1 pooling windows. Defaults to 3.
        use_abs (bool): Whether absolute values are summed. Defaults to True.
        count_include_pad (bool): Whether border averages count the padding. Defaults to False.
        size (Sequence[int], optional): Height and width of the result. A larger source is pooled
            to it instead of in windows; a smaller one is interpolated. Defaults to the source's.

    Returns:
        torch.Tensor: Shape (N, 1, H, W).
    """
    # Sums of shorter floats are rounded too coarsely.
    dtype = torch.promote_types(source.dtype, torch.float32)
    total = (source.abs() if use_abs else source).sum(dim=1, keepdim=True, dtype=dtype)
    size = tuple(size or total.shape[2:])
    if total.shape[2] > size[0] or total.shape[3] > size[1]:
        average = average_pool(total, size)
        maximum = max_pool(total, size)
    else:
        window = dict(kernel_size=kernel_size, stride=1, padding=kernel_size // 2)
        average = F.avg_pool2d(total, count_include_pad=count_include_pad, **window)
        maximum = F.max_pool2d(total, **window)
    mapping = avg_weight * average + max_weight * maximum
    if mapping.shape[2:] != size:
        mapping = F.interpolate(mapping, size, mode='bilinear')
    return mapping


def normalized_mapping(mapping: torch.Tensor) -> torch.Tensor:
    """Scale each sample's mapping to mean 1, so that it moves weight without changing the sum.

    A mapping whose mean is not positive, or tiny compared with its largest value, cannot be scaled
    (all zeros, or signed sums). It becomes 1 everywhere.

    Args:
        mapping (torch.Tensor): Shape (N, 1, H, W).

    Returns:
        torch.Tensor: Shape (N, 1, H, W).
    """
    mean = mapping.mean(dim=(2, 3), keepdim=True)
    scalable = mean > 1e-3 * mapping.abs().amax(dim=(2, 3), keepdim=True)
    return torch.where(scalable, mapping / mean, torch.ones_like(mapping))


class _SquaredDistance(torch.autograd.Function):
    """Sum ``(S - T)^2`` over channels, shape (N, 1, H, W).

    Plain autograd would keep the difference and make two more tensors of its size in the backward,
    which is where a local module of a few layers needs most memory.
    """

    @staticmethod
    def forward(ctx, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(student, teacher)
        # Differences, squares and sums of shorter floats are rounded too coarsely, or overflow.
        dtype = torch.promote_types(student.dtype, torch.float32)
        difference = student.to(dtype) - teacher
        return difference.square_().sum(dim=1, keepdim=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        student, teacher = ctx.saved_tensors
        difference = student.to(grad.dtype) - teacher
        return difference.mul_(2 * grad).to(student.dtype), None


@MODELS.register_module()
class NDAMFeatureLoss(nn.Module):
    r"""Feature loss weighted by the teacher's activation mapping.

    .. math::
        L_f = \mathrm{mean}\big( \hat W \odot (F_T - F_S)^2 \big), \quad
        W = \alpha\,\mathrm{avgpool}(\textstyle\sum_c |T_c|)
          + \beta\,\mathrm{maxpool}(\textstyle\sum_c |T_c|)

    Eq. 5, 11 and 12 of *LAKD: Activation Mapping Distillation Based on Local Learning*. The paper
    leaves open the pooling (here stride 1, same size), how W is applied and normalised (mean 1 per
    sample), and what the norm averages over; most of this is a key. ``avg_weight = max_weight =
    0`` is the plain feature loss, the mean squared error.

    Features of 16 bits are compared in float32.

    Args:
        avg_weight (float): alpha of Eq. 12. Defaults to 0.25, best in the paper's Table 5.
        max_weight (float): beta of Eq. 12. Defaults to 0.75, best in the paper's Table 5.
        kernel_size (int): Side of the pooling windows, odd. Our reading. Defaults to 3.
        use_abs (bool): Whether Eq. 11 takes absolute values. Defaults to True.
        loss_weight (float): beta of Eq. 6. Defaults to 1.0.
        count_include_pad (bool): Whether border averages count padding. Our reading is False.
        apply (str): 'loss' weights the squared difference; 'feature' weights the difference before
            it is squared. Our reading is 'loss'.
        reduction (str): 'mean' over all elements, or 'batchmean', the sum over a sample's elements
            averaged over samples. Our reading is 'mean', which does not depend on the tap's size.
        normalize (str): How to remove the scale of the teacher's features, which differs between
            stages: 'none' keeps it; 'teacher' divides the loss by their mean square; 'channel'
            divides both features by the root mean square of each of the teacher's channels;
            'instance' gives each channel of each sample of both mean 0 and variance 1. Our reading
            is 'none'.

    Raises:
        ConfigError: If the kernel is even or not positive, a weight of Eq. 12 negative, or
            ``apply``, ``reduction`` or ``normalize`` unknown, or an option would be ignored.

    Examples:
        >>> loss = dict(type='mmrazor.NDAMFeatureLoss', avg_weight=0.25, max_weight=0.75)
    """

    # The distiller may pass features of 16 bits.
    takes_half = True

    def __init__(
        self,
        avg_weight: float = 0.25,
        max_weight: float = 0.75,
        kernel_size: int = 3,
        use_abs: bool = True,
        loss_weight: float = 1.0,
        count_include_pad: bool = False,
        apply: str = 'loss',
        reduction: str = 'mean',
        normalize: str = 'none',
    ):
        super().__init__()
        if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(
                f'NDAMFeatureLoss: kernel_size={kernel_size!r}: give an odd whole number, as 3'
            )
        if min(avg_weight, max_weight) < 0:
            raise ConfigError(
                f'NDAMFeatureLoss: avg_weight={avg_weight}, max_weight={max_weight}: give numbers '
                f'of at least 0'
            )
        if apply not in ('loss', 'feature'):
            raise ConfigError(f"NDAMFeatureLoss: apply={apply!r} is neither 'loss' nor 'feature'")
        if reduction not in ('mean', 'batchmean'):
            raise ConfigError(
                f"NDAMFeatureLoss: reduction={reduction!r} is neither 'mean' nor 'batchmean'"
            )
        if normalize not in _NORMALIZATIONS:
            near = near_names(str(normalize), _NORMALIZATIONS)
            raise ConfigError(f'NDAMFeatureLoss: normalize={normalize!r}; {near}')
        if not avg_weight and not max_weight:
            why = 'with avg_weight=0 and max_weight=0, which make no mapping; leave it out'
            shape = dict(kernel_size=kernel_size, use_abs=use_abs, apply=apply)
            refuse_ignored(NDAMFeatureLoss, why, **shape)
        if not avg_weight or kernel_size == 1:
            reason = 'kernel_size=1, which needs no padding' if avg_weight else 'avg_weight=0'
            why = f'with {reason}; leave it out'
            refuse_ignored(NDAMFeatureLoss, why, count_include_pad=count_include_pad)
        self.avg_weight, self.max_weight, self.loss_weight = avg_weight, max_weight, loss_weight
        self.kernel_size, self.count_include_pad = kernel_size, count_include_pad
        self.use_abs, self.apply_to, self.reduction = use_abs, apply, reduction
        self.normalize = normalize

    def forward(
        self,
        s_feature: torch.Tensor,
        t_feature: torch.Tensor,
        attention: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Align one tap.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's, of the same shape; a constant.
            attention (torch.Tensor, optional): Source of W instead of ``t_feature``, such as the
                teacher's class activation maps or an earlier tap, shape (N, C', H', W'); a
                constant, resized to H x W. Defaults to None.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If the shapes differ, ``attention`` would be ignored, or the maps have one
                position and ``normalize`` is 'instance'.
        """
        if s_feature.shape != t_feature.shape:
            raise ConfigError(
                f'NDAMFeatureLoss: the student feature has shape {tuple(s_feature.shape)}, the '
                f'teacher feature {tuple(t_feature.shape)}; give a connector that makes them equal'
            )
        if self.normalize == 'instance' and t_feature.shape[2:].numel() == 1:
            raise ConfigError(
                "NDAMFeatureLoss: normalize='instance' needs maps of several positions, and these "
                'have one; tap an earlier stage, or choose another normalize'
            )
        t_feature = t_feature.detach()
        # W is the same for all channels, so they are summed first.
        squared = _SquaredDistance.apply(*self.normalized(s_feature, t_feature))
        if self.avg_weight or self.max_weight:
            source = t_feature if attention is None else attention.detach()
            weight = self.mapping(source, t_feature.shape[2:])
            squared = squared * (weight if self.apply_to == 'loss' else weight.square())
        elif attention is not None:
            raise ConfigError(
                'NDAMFeatureLoss: attention would be ignored with avg_weight=0 and max_weight=0; '
                "leave it out (LAKD: ndam_source='tap')"
            )
        count = s_feature.numel() if self.reduction == 'mean' else len(s_feature)
        loss = squared.sum() / count
        if self.normalize == 'teacher':
            loss = loss / t_feature.to(loss.dtype).square().mean().clamp_min(_EPS)
        return self.loss_weight * loss

    def normalized(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both features, shape (N, C, H, W), on the scale on which they are compared."""
        if self.normalize == 'channel':
            squares = t_feature.square().mean(dim=(0, 2, 3), keepdim=True)
            scale = squares.clamp_min(_EPS).rsqrt()
            return s_feature * scale, t_feature * scale
        if self.normalize == 'instance':
            return F.instance_norm(s_feature), F.instance_norm(t_feature)
        return s_feature, t_feature

    def mapping(self, source: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Compute the normalised mapping of ``source`` at size (H, W), shape (N, 1, H, W)."""
        weights, window = (self.avg_weight, self.max_weight), (self.kernel_size, self.use_abs)
        mapping = activation_mapping(source, *weights, *window, self.count_include_pad, size)
        return normalized_mapping(mapping)
