"""Corrupted images: seven corruptions in five severities, made for small images.

All kinds but occlusion are from `Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations <https://arxiv.org/abs/1903.12261>`_. The implementations and the table of levels
are ours, made for 32x32, so results are not those on CIFAR-10-C, whose files
:mod:`.corrupted_files` reads. Lengths in pixels grow with the shorter side of the image.

===============  ==============================================  =============================
corruption       level                                           severity 1 to 5
===============  ==============================================  =============================
gaussian_noise   standard deviation, of the range 0 to 1         0.02, 0.035, 0.05, 0.07, 0.09
gaussian_blur    standard deviation, pixels of 32                0.45, 0.6, 0.75, 0.9, 1.1
occlusion        side of a grey square, of the image's side      0.2, 0.3, 0.4, 0.5, 0.6
brightness       added, of the range 0 to 1                      0.1, 0.2, 0.3, 0.4, 0.5
contrast         factor of the distance to the channel's mean    0.7, 0.5, 0.4, 0.3, 0.2
jpeg             quality                                         70, 45, 30, 18, 10
elastic          root mean square displacement, pixels of 32     0.5, 0.8, 1.1, 1.5, 2.0
===============  ==============================================  =============================
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Callable, NamedTuple
from zlib import crc32

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmrazor.registry import TRANSFORMS

from ..errors import ConfigError, near_names

# Lengths in pixels are for images with this side.
_SIDE = 32
# Pixels over which neighbouring displacements of the elastic transform are similar.
_SMOOTHNESS = 2.5
SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """A kind of corruption, and its levels of severities 1 to 5.

    ``apply`` takes an image (H, W, C), uint8, RGB; a level; the shorter side divided by 32; and a
    random generator. It returns the image, uint8 or float.
    """

    apply: Callable
    levels: tuple[float, ...]


def corrupt(image: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Corrupt an image.

    The random numbers depend only on the image's pixels, the corruption and the seed, not on other
    images or their order. So the severities of one image differ only in strength: their noise and
    places are the same.

    Args:
        image (np.ndarray): Shape (H, W, C) or (H, W), uint8; RGB if C is 3.
        name (str): One of :data:`CORRUPTIONS`.
        severity (int): 1 to 5.
        seed (int): Seed of the random numbers. Defaults to 0.

    Returns:
        np.ndarray: The same shape and type.

    Raises:
        ConfigError: If there is no such corruption, severity or seed, or the image is not uint8.
    """
    check_corruption(name, severity, seed)
    if image.dtype != np.uint8:
        raise ConfigError(
            f'{name}: the image is {image.dtype}, not uint8. Images are corrupted before they are '
            f'normalised; leave that to the data preprocessor'
        )
    shape = image.shape
    image = np.ascontiguousarray(image[..., None] if image.ndim == 2 else image)
    generator = np.random.default_rng([seed, crc32(name.encode()), crc32(image)])
    kind = CORRUPTIONS[name]
    scale = min(image.shape[:2]) / _SIDE
    result = kind.apply(image, kind.levels[severity - 1], scale, generator)
    if result.dtype != np.uint8:
        result = np.rint(result).clip(0, 255).astype(np.uint8)
    # OpenCV drops the axis of a single channel.
    return np.ascontiguousarray(result.reshape(shape))


def corrupt_batch(images: torch.Tensor, name: str, severity: int, seed: int = 0) -> torch.Tensor:
    """Corrupt each image of a batch (N, C, H, W) on its device, see :func:`corrupt`."""
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    corrupted = np.stack([corrupt(array, name, severity, seed) for array in arrays])
    return torch.from_numpy(corrupted).permute(0, 3, 1, 2).to(images.device)


def check_corruption(name: str, severity: int, seed: int = 0):
    """Raise a ConfigError if there is no such corruption, severity or seed."""
    if name not in CORRUPTIONS:
        raise ConfigError(f'there is no corruption {name!r}; {near_names(name, CORRUPTIONS)}')
    check_severities([severity])
    if not isinstance(seed, Integral) or seed < 0:
        raise ConfigError(f'seed={seed!r} is not a whole number of at least 0')


def check_severities(severities: Sequence[int]):
    """Raise a ConfigError if a severity is not one of 1 to 5."""
    wrong = [severity for severity in severities if severity not in SEVERITIES]
    if wrong:
        raise ConfigError(f'severity {wrong[0]!r}: there are 1 (mild) to 5')


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt images in a pipeline, after loading, resizing and cropping.

    Args:
        name (str): One of :data:`CORRUPTIONS`.
        severity (int): 1 to 5.
        seed (int): Seed of the random numbers. Some corruptions use none; they accept it, so that
            one seed serves a list of corruptions. Defaults to 0.
        channel_order (str): 'bgr', as ``LoadImageFromFile`` reads, or 'rgb', as in MMPretrain's
            CIFAR. Defaults to 'bgr'.

    Raises:
        ConfigError: If an argument has another value.

    Examples:
        >>> test_pipeline = [
        ...     dict(type='LoadImageFromFile'),
        ...     dict(type='mmrazor.Corrupt', name='gaussian_noise', severity=3),
        ...     dict(type='PackInputs')]
    """

    def __init__(self, name: str, severity: int, seed: int = 0, channel_order: str = 'bgr'):
        check_corruption(name, severity, seed)
        if channel_order not in ('bgr', 'rgb'):
            message = f"Corrupt: channel_order={channel_order!r} is neither 'bgr' nor 'rgb'"
            raise ConfigError(message)
        self.name, self.severity, self.seed = name, severity, seed
        self.channel_order = channel_order

    def transform(self, results: dict) -> dict:
        """Corrupt ``img``, shape (H, W, C) or (H, W), uint8."""
        image = results['img']
        flip = self.channel_order == 'bgr' and image.shape[2:] == (3,)
        image = image[..., ::-1] if flip else image
        image = corrupt(image, self.name, self.severity, self.seed)
        results['img'] = np.ascontiguousarray(image[..., ::-1]) if flip else image
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(name={self.name!r}, severity={self.severity}, '
            f'seed={self.seed}, channel_order={self.channel_order!r})'
        )


def _gaussian_noise(image, level, scale, generator):
    return image + generator.standard_normal(image.shape, dtype=np.float32) * (255 * level)


def _gaussian_blur(image, level, scale, generator):
    return cv2.GaussianBlur(image, (0, 0), level * scale)


def _occlusion(image, level, scale, generator):
    """Cover a square that lies inside the image; higher severities cover a larger one around it."""
    height, width = image.shape[:2]
    side = max(1, round(level * min(height, width)))
    top, left = (int(u * (n - side + 1)) for u, n in zip(generator.random(2), (height, width)))
    result = image.copy()
    result[top : top + side, left : left + side] = 128
    return result


def _brightness(image, level, scale, generator):
    return image + np.float32(255 * level)


def _contrast(image, level, scale, generator):
    mean = image.mean(axis=(0, 1), dtype=np.float32)
    return (image - mean) * np.float32(level) + mean


def _jpeg(image, level, scale, generator):
    channels = image.shape[2]
    if channels not in (1, 3):
        raise ConfigError(f'jpeg: the image has {channels} channels, JPEG has 1 or 3')
    _, code = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, level])
    decoded = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    return decoded.reshape(image.shape)[..., ::-1]


def _elastic(image, level, scale, generator):
    height, width = image.shape[:2]
    shift = generator.standard_normal((height, width, 2), dtype=np.float32)
    shift = cv2.GaussianBlur(shift, (0, 0), _SMOOTHNESS * scale)
    shift *= level * scale / np.sqrt(np.mean(shift**2) * 2)
    columns = np.arange(width, dtype=np.float32) + shift[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    return cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


CORRUPTIONS = {
    'gaussian_noise': Corruption(_gaussian_noise, (0.02, 0.035, 0.05, 0.07, 0.09)),
    'gaussian_blur': Corruption(_gaussian_blur, (0.45, 0.6, 0.75, 0.9, 1.1)),
    'occlusion': Corruption(_occlusion, (0.2, 0.3, 0.4, 0.5, 0.6)),
    'brightness': Corruption(_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    'contrast': Corruption(_contrast, (0.7, 0.5, 0.4, 0.3, 0.2)),
    'jpeg': Corruption(_jpeg, (70, 45, 30, 18, 10)),
    'elastic': Corruption(_elastic, (0.5, 0.8, 1.1, 1.5, 2.0)),
}
