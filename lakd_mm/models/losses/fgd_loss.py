"""Focal and global distillation of detectors."""

from collections.abc import Sequence
from typing import Any, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import constant_init, kaiming_init
from mmrazor.registry import MODELS

from ...errors import ConfigError, refuse_ignored

_FRAMES = ('batch_input_shape', 'img_shape')


def spatial_mask(feature: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """Compute where a feature map is active, ``H W softmax(mean_C |F| / temperature)``.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        temperature (float): Defaults to 0.5.

    Returns:
        torch.Tensor: Shape (N, 1, H, W), with mean 1 over the positions.
    """
    height, width = feature.shape[2:]
    scores = feature.abs().mean(dim=1).flatten(1) / temperature
    return (height * width * scores.softmax(dim=1)).unflatten(1, (1, height, width))


def channel_mask(feature: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """Compute which channels of a map are active, ``C softmax(mean_HW |F| / temperature)``.

    Args:
        feature (torch.Tensor): Shape (N, C, H, W).
        temperature (float): Defaults to 0.5.

    Returns:
        torch.Tensor: Shape (N, C, 1, 1), with mean 1 over the channels.
    """
    scores = feature.abs().mean(dim=(2, 3), keepdim=True) / temperature
    return feature.shape[1] * scores.softmax(dim=1)


def foreground_mask(
    boxes: torch.Tensor, map_size: Sequence[int], image_size: Sequence[int]
) -> torch.Tensor:
    """Give each position 1 / area of the smallest box that covers it, and 0 outside all boxes.

    A box covers whole positions: its corners are rounded outwards, both ends inclusive. Its area is
    the number of positions that it covers.

    Args:
        boxes (torch.Tensor): (x1, y1, x2, y2) in pixels, shape (B, 4).
        map_size (Sequence[int]): Height and width of the feature map.
        image_size (Sequence[int]): Height and width of the image that the map comes from.

    Returns:
        torch.Tensor: Shape (H, W).
    """
    (height, width), (image_height, image_width) = map_size, image_size
    if not len(boxes):
        return boxes.new_zeros(height, width)
    left, right = boxes[:, 0] / image_width * width, boxes[:, 2] / image_width * width
    top, bottom = boxes[:, 1] / image_height * height, boxes[:, 3] / image_height * height
    left, top, right, bottom = left.floor(), top.floor(), right.ceil(), bottom.ceil()
    weight = 1 / ((bottom - top + 1) * (right - left + 1))
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    # Rows come first: the mask is indexed by (y, x).
    rows = (rows >= top[:, None]) & (rows <= bottom[:, None])
    columns = (columns >= left[:, None]) & (columns <= right[:, None])
    return (weight[:, None, None] * rows[:, :, None] * columns[:, None, :]).amax(dim=0)


def background_mask(foreground: torch.Tensor) -> torch.Tensor:
    """Give 1 / n to the n positions where ``foreground`` is 0; both have shape (H, W)."""
    outside = (foreground == 0).to(foreground)
    return outside / outside.sum().clamp(min=1)


class GlobalContext(nn.Module):
    """Add the global context of a feature map to it, as a GcNet's block does.

    ``F + conv(ReLU(LayerNorm(conv(sum_HW F softmax_HW(conv(F))))))``, with 1x1 convolutions. The
    last one starts at zero, so the block starts as the identity.

    Args:
        channels (int): C of the feature map; the block's width is half of it.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = max(channels // 2, 1)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.add = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.LayerNorm([width, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )
        kaiming_init(self.mask, mode='fan_in')
        constant_init(self.add[-1], 0)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Add the context to a map of shape (N, C, H, W)."""
        weight = self.mask(feature).flatten(2).softmax(dim=2)
        context = feature.flatten(2) @ weight.transpose(1, 2)
        return feature + self.add(context.unsqueeze(3))


@MODELS.register_module()
class FGDLoss(nn.Module):
    r"""Focal and global distillation (FGD) of one level of a detector's features.

    .. math::
        L = \frac{1}{N} \Big( \sum (\alpha M_{fg} + \beta M_{bg}) A_s(T) A_c(T) (S - T)^2
        + \gamma \sum \left( |A_s(S) - A_s(T)| + |A_c(S) - A_c(T)| \right)
        + \lambda \sum (R(S) - R(T))^2 \Big)

    where M are the masks of the boxes, :func:`foreground_mask` and :func:`background_mask`, A are
    :func:`spatial_mask` and :func:`channel_mask`, and R is a :class:`GlobalContext` for
    each side; both are trained. From `Focal and Global Knowledge Distillation for Detectors
    <https://arxiv.org/abs/2111.11837>`_ (CVPR 2022, Eq. 4 to 13).

    Boxes are scaled to the map by the size of the network's input, that is, of images padded to a
    common size. The authors' code uses each image's own size instead, which stretches the boxes of
    padded images; ``frame='img_shape'`` does that.

    Args:
        in_channels (int): C of both features.
        temperature (float): Temperature of the attention. Defaults to 0.5.
        alpha (float): Weight of the foreground. Defaults to 1e-3. All four default weights are
            those of the authors' configs for RetinaNet. They use 5e-5, 2.5e-5, 5e-5 and 5e-7 for
            Faster R-CNN, and 1.6e-3, 8e-4, 8e-4 and 8e-6 with a temperature of 0.8 for FCOS.
        beta (float): Weight of the background. Defaults to 5e-4.
        gamma (float): Weight of the difference in attention. Defaults to 5e-4.
        lambda_ (float): Weight of the global part. Defaults to 5e-6.
        frame (str): The size that boxes are relative to: 'batch_input_shape' (or 'img_shape' if a
            data sample lacks it) or 'img_shape'. Defaults to 'batch_input_shape'.
        loss_weight (float): Weight of the sum. Defaults to 1.0.

    Raises:
        ConfigError: If an option is unknown, not positive or would be ignored, or a weight is
            negative.

    Examples:
        >>> loss = dict(type='mmrazor.FGDLoss', in_channels=256)
    """

    def __init__(
        self,
        in_channels: int,
        temperature: float = 0.5,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 5e-4,
        lambda_: float = 5e-6,
        frame: str = 'batch_input_shape',
        loss_weight: float = 1.0,
    ):
        super().__init__()
        if frame not in _FRAMES:
            raise ConfigError(
                f'FGDLoss: frame={frame!r} is neither {" nor ".join(map(repr, _FRAMES))}'
            )
        if in_channels < 1 or temperature <= 0:
            raise ConfigError(
                f'FGDLoss: in_channels={in_channels} and temperature={temperature} must be positive'
            )
        if min(alpha, beta, gamma, lambda_) < 0:
            raise ConfigError(
                f'FGDLoss: alpha={alpha}, beta={beta}, gamma={gamma}, lambda_={lambda_}: weights '
                f'cannot be negative'
            )
        if not alpha and not beta:
            refuse_ignored(FGDLoss, 'with alpha=0 and beta=0; leave it out', frame=frame)
        if not (alpha or beta or gamma):
            refuse_ignored(
                FGDLoss, 'with alpha=beta=gamma=0; leave it out', temperature=temperature
            )
        self.in_channels = in_channels
        self.temperature = temperature
        self.alpha, self.beta, self.gamma, self.lambda_ = alpha, beta, gamma, lambda_
        self.frame = frame
        self.loss_weight = loss_weight
        self.s_context = GlobalContext(in_channels)
        self.t_context = GlobalContext(in_channels)

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, data_samples: Optional[list]
    ) -> torch.Tensor:
        """Compare a level of the student with the teacher's.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C, H, W).
            t_feature (torch.Tensor): The teacher's feature, the same shape; a constant.
            data_samples (List[DetDataSample]): For each image ``gt_instances.bboxes``, shape (B, 4)
                as (x1, y1, x2, y2), and ``batch_input_shape`` or ``img_shape``, (height, width).

        Returns:
            torch.Tensor: The weighted loss, a scalar. An image without boxes is background only.

        Raises:
            ConfigError: If shapes do not fit each other or C, or the data samples have no boxes.
        """
        t_feature = t_feature.detach()
        self._check(s_feature, t_feature)
        t_spatial = spatial_mask(t_feature, self.temperature)
        t_channel = channel_mask(t_feature, self.temperature)
        weight = self._masks(t_feature, data_samples) * t_spatial * t_channel
        total = (weight * (s_feature - t_feature).square()).sum()
        s_spatial = spatial_mask(s_feature, self.temperature)
        s_channel = channel_mask(s_feature, self.temperature)
        difference = F.l1_loss(s_spatial, t_spatial, reduction='sum')
        difference = difference + F.l1_loss(s_channel, t_channel, reduction='sum')
        relation = F.mse_loss(self.s_context(s_feature), self.t_context(t_feature), reduction='sum')
        total = total + self.gamma * difference + self.lambda_ * relation
        return self.loss_weight * total / len(s_feature)

    def _masks(self, feature: torch.Tensor, data_samples: Optional[list]) -> torch.Tensor:
        """Compute the weighted masks of all images, shape (N, 1, H, W)."""
        if data_samples is None or len(data_samples) != len(feature):
            count = 'no' if data_samples is None else len(data_samples)
            raise ConfigError(f'FGDLoss: {count} data samples for {len(feature)} images')
        # bfloat16 would move a corner beyond pixel 1,024 by up to 4 pixels.
        dtype = torch.promote_types(feature.dtype, torch.float32)
        masks = []
        for sample in data_samples:
            boxes, size = _boxes(sample), _image_size(sample, self.frame)
            mask = foreground_mask(boxes.to(feature.device, dtype), feature.shape[2:], size)
            masks.append(self.alpha * mask + self.beta * background_mask(mask))
        return torch.stack(masks)[:, None]

    def _check(self, student: torch.Tensor, teacher: torch.Tensor):
        shapes = f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}"
        if student.shape != teacher.shape:
            raise ConfigError(
                f'FGDLoss: {shapes} differ; give a connector for the channels, and pair levels of '
                f'one size'
            )
        if student.ndim != 4 or student.shape[1] != self.in_channels:
            raise ConfigError(
                f'FGDLoss: {shapes} are not (N, C, H, W) with in_channels={self.in_channels}'
            )


def _boxes(sample: Any) -> torch.Tensor:
    """Return the boxes of a data sample, a tensor of shape (B, 4)."""
    boxes = getattr(getattr(sample, 'gt_instances', None), 'bboxes', None)
    if boxes is None:
        raise ConfigError(
            f'FGDLoss: a {type(sample).__name__} has no gt_instances.bboxes; FGD is for detection '
            f'data with boxes'
        )
    # MMDetection's box types hold a tensor, unless its data preprocessor has unpacked them.
    return getattr(boxes, 'tensor', boxes)


def _image_size(sample: Any, frame: str) -> tuple[int, int]:
    """Return the height and width that the boxes of a data sample are relative to."""
    size = getattr(sample, frame, None) or getattr(sample, 'img_shape', None)
    if size is None:
        raise ConfigError(
            f'FGDLoss: a {type(sample).__name__} has neither {frame} nor img_shape; let '
            f'PackDetInputs keep img_shape (meta_keys)'
        )
    return tuple(size[:2])
