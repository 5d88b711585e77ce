"""A data preprocessor that augments whole batches."""

from collections.abc import Sequence
from typing import Any, Optional

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from ..errors import ConfigError

# Keys of CropFlipDataPreprocessor that MMPretrain's has not.
_AUGMENTATION = ('padding', 'flip_prob', 'num_views')
# For each image the first row and column of its crop, and whether it is flipped: (N, 1) each.
Crops = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def draw_crops(n: int, padding: int, flip_prob: float, device: torch.device) -> Crops:
    """Draw the crops and flips of ``n`` images, for :func:`cut`."""
    top = torch.randint(2 * padding + 1, (n, 1), device=device)
    left = torch.randint(2 * padding + 1, (n, 1), device=device)
    return top, left, torch.rand(n, 1, device=device) < flip_prob


def crop_flip(
    images: torch.Tensor, padding: int, flip_prob: float, keys: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Pad each image with zeros, crop it at random and flip some, each independently.

    ``RandomCrop(padding=…)`` and ``RandomFlip`` do the same image by image.

    Args:
        images (torch.Tensor): Shape (N, C, H, W).
        padding (int): Pixels on every side.
        flip_prob (float): Probability of a horizontal flip.
        keys (torch.Tensor, optional): Shape (N,), int64. Images with the same key are cropped and
            flipped alike, now and later. Defaults to None, random numbers are drawn.

    Returns:
        torch.Tensor: Shape (N, C, H, W), in channels-last memory format.
    """
    device = images.device
    if keys is None:
        return cut(images, padding, draw_crops(len(images), padding, flip_prob, device))
    top, left, chance = (_mix(keys + (i << 40)).to(device)[:, None] for i in range(3))
    top, left = top % (2 * padding + 1), left % (2 * padding + 1)
    return cut(images, padding, (top, left, chance < flip_prob * 2**31))


def cut(images: torch.Tensor, padding: int, crops: Crops) -> torch.Tensor:
    """Crop and flip images, of shape (N, C, H, W), as :func:`draw_crops` says."""
    n, _, height, width = images.shape
    device = images.device
    top, left, flip = crops
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(flip, columns.flip(1), columns)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(n, device=device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _stacked(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Make one tensor of a list of images."""
    sizes = sorted({tuple(image.shape) for image in images})
    if len(sizes) > 1:
        raise ConfigError(
            f'CropFlipDataPreprocessor: images of one batch differ in size: {sizes[0]} and '
            f'{sizes[1]}; resize them in the pipeline'
        )
    return torch.stack(list(images))


def _mix(keys: torch.Tensor) -> torch.Tensor:
    """Turn whole numbers into ones from 0 to 2^31 - 1 that look random (SplitMix64's finaliser)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        keys = (keys ^ ((keys >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return (keys >> 32) & (2**31 - 1)


def with_default_type(data_preprocessor: Any) -> Any:
    """Fill in the type that MMPretrain's data configs leave out, as its classifiers do."""
    if isinstance(data_preprocessor, dict):
        return {'type': 'mmpretrain.ClsDataPreprocessor', **data_preprocessor}
    return data_preprocessor


def without_crop_flip(data_preprocessor: dict) -> dict:
    """Return the config of MMPretrain's preprocessor, which normalises as the given one does."""
    plain = dict(with_default_type(data_preprocessor))
    if plain['type'] == 'mmrazor.CropFlipDataPreprocessor':
        plain = {key: value for key, value in plain.items() if key not in _AUGMENTATION}
        plain['type'] = 'mmpretrain.ClsDataPreprocessor'
    return plain


@MODELS.register_module()
class CropFlipDataPreprocessor(ClsDataPreprocessor):
    """Crop and flip training batches, then normalise them as MMPretrain's preprocessor does.

    It takes batches that are one tensor, as :class:`InMemory` makes them, or a list of images of
    one size.

    Args:
        padding (int): Zero padding on every side before cropping. Defaults to 4.
        flip_prob (float): Probability of a horizontal flip. Defaults to 0.5.
        num_views (int, optional): How many fixed crops of each image the epochs go round, for a
            teacher whose outputs are kept (``keep_teacher`` of :class:`Distill`); needs samples
            with a ``sample_idx``. Defaults to None, every epoch crops anew.
        **kwargs: Arguments of MMPretrain's ``ClsDataPreprocessor``.

    Raises:
        ConfigError: If images of a batch differ in size, ``pad_value`` would be ignored, or
            ``num_views`` is not positive.
    """

    def __init__(
        self,
        padding: int = 4,
        flip_prob: float = 0.5,
        num_views: Optional[int] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_views is not None and (not isinstance(num_views, int) or num_views < 1):
            raise ConfigError(
                f'{type(self).__name__}: num_views={num_views!r} is no whole number of at least 1'
            )
        if self.pad_value and self.pad_size_divisor == 1:
            raise ConfigError(
                f'{type(self).__name__}: pad_value={self.pad_value} would be ignored without '
                f'pad_size_divisor; cropping pads with zeros'
            )
        self.padding = padding
        self.flip_prob = flip_prob
        self.num_views = num_views

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch, and augment it in training.

        Args:
            data (dict): ``inputs``, shape (N, C, H, W), and ``data_samples``; in
                :class:`ResidentTrainLoop` also ``crops``, which :meth:`draw` has given.
            training (bool): Whether to augment. Defaults to False.
        """
        data = dict(data)
        crops = data.pop('crops', None)
        inputs = self.cast_data(data['inputs'])
        if not isinstance(inputs, torch.Tensor):
            inputs = _stacked(inputs)
        if crops is not None:
            inputs = cut(inputs, self.padding, crops)
        elif training:
            keys = None if self.num_views is None else self._choose_views(data['data_samples'])
            inputs = crop_flip(inputs, self.padding, self.flip_prob, keys)
        elif not torch.is_grad_enabled():
            # As in training. Not where a backward may follow, see keep_contiguous.
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        data['inputs'] = inputs
        sample = (data.get('data_samples') or [{}])[0]
        in_place = 'gt_label' not in sample or sample.gt_label.device == inputs.device
        if self.batch_augments or self.to_onehot or self.pad_size_divisor > 1 or not in_place:
            return super().forward(data, training)
        # Only normalisation is left. Upstream also visits each label, which costs more than that.
        if self.to_rgb and inputs.size(1) == 3:
            inputs = inputs.flip(1)
        inputs = (inputs - self.mean).div_(self.std) if self._enable_normalize else inputs.float()
        return dict(data, inputs=inputs)

    def draw(self, n: int) -> Optional[Crops]:
        """Draw the crops of ``n`` images ahead; with ``num_views`` nothing is drawn."""
        if self.num_views is not None:
            return None
        return draw_crops(n, self.padding, self.flip_prob, self.device)

    def _choose_views(self, samples: Sequence[DataSample]) -> torch.Tensor:
        """Give each sample the view of this epoch, and return what its crop depends on."""
        epoch = MessageHub.get_current_instance().get_info('epoch', 0) or 0
        keys = []
        for sample in samples:
            view = (epoch + sample.sample_idx) % self.num_views
            sample.set_metainfo(dict(view=view))
            keys.append(sample.sample_idx * self.num_views + view)
        return torch.tensor(keys)
