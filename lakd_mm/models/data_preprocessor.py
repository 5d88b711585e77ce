"""A data preprocessor that augments whole batches."""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor
from mmrazor.registry import MODELS

from ..errors import ConfigError


def crop_flip(images: torch.Tensor, padding: int, flip_prob: float) -> torch.Tensor:
    """Pad each image with zeros, crop it at random and flip some, each independently.

    ``RandomCrop(padding=…)`` and ``RandomFlip`` do the same image by image.

    Args:
        images (torch.Tensor): Shape (N, C, H, W).
        padding (int): Pixels on every side.
        flip_prob (float): Probability of a horizontal flip.

    Returns:
        torch.Tensor: Shape (N, C, H, W), in channels-last memory format.
    """
    n, _, height, width = images.shape
    device = images.device
    top = torch.randint(2 * padding + 1, (n, 1), device=device)
    left = torch.randint(2 * padding + 1, (n, 1), device=device)
    flip = torch.rand(n, 1, device=device) < flip_prob
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    columns = torch.where(flip, columns.flip(1), columns)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(n, device=device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def with_default_type(data_preprocessor: Any) -> Any:
    """Fill in the type that MMPretrain's data configs leave out, as its classifiers do."""
    if isinstance(data_preprocessor, dict):
        return {'type': 'mmpretrain.ClsDataPreprocessor', **data_preprocessor}
    return data_preprocessor


def without_crop_flip(data_preprocessor: dict) -> dict:
    """Return the config of MMPretrain's preprocessor, which normalises as the given one does."""
    plain = dict(with_default_type(data_preprocessor))
    if plain['type'] == 'mmrazor.CropFlipDataPreprocessor':
        plain = {key: value for key, value in plain.items() if key not in ('padding', 'flip_prob')}
        plain['type'] = 'mmpretrain.ClsDataPreprocessor'
    return plain


@MODELS.register_module()
class CropFlipDataPreprocessor(ClsDataPreprocessor):
    """Crop and flip training batches, then normalise them as MMPretrain's preprocessor does.

    It takes batches that are one tensor, as :class:`InMemory` makes them.

    Args:
        padding (int): Zero padding on every side before cropping. Defaults to 4.
        flip_prob (float): Probability of a horizontal flip. Defaults to 0.5.
        **kwargs: Arguments of MMPretrain's ``ClsDataPreprocessor``.

    Raises:
        ConfigError: If ``pad_value`` would be ignored.
    """

    def __init__(self, padding: int = 4, flip_prob: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if self.pad_value and self.pad_size_divisor == 1:
            raise ConfigError(
                f'{type(self).__name__}: pad_value={self.pad_value} would be ignored without '
                f'pad_size_divisor; cropping pads with zeros'
            )
        self.padding = padding
        self.flip_prob = flip_prob

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch, and augment it in training.

        Args:
            data (dict): ``inputs``, shape (N, C, H, W), and ``data_samples``.
            training (bool): Whether to augment. Defaults to False.
        """
        inputs = self.cast_data(data['inputs'])
        if training:
            inputs = crop_flip(inputs, self.padding, self.flip_prob)
        data = dict(data, inputs=inputs)
        sample = (data.get('data_samples') or [{}])[0]
        in_place = 'gt_label' not in sample or sample.gt_label.device == inputs.device
        if self.batch_augments or self.to_onehot or self.pad_size_divisor > 1 or not in_place:
            return super().forward(data, training)
        # Only normalisation is left. Upstream also visits each label, which costs more than that.
        if self.to_rgb and inputs.size(1) == 3:
            inputs = inputs.flip(1)
        inputs = (inputs - self.mean).div_(self.std) if self._enable_normalize else inputs.float()
        return dict(data, inputs=inputs)
