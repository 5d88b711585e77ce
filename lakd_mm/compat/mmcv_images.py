"""Repair of MMCV's loading of images, whose errors do not name the file (all releases to 2.2)."""

import functools
from collections.abc import Callable
from typing import Optional

from mmcv.transforms import LoadImageFromFile

from ..errors import ConfigError


def name_files(load: Callable) -> Callable:
    """Raise one clear error, with its path, for an image that cannot be read."""

    @functools.wraps(load)
    def load_or_name(self: LoadImageFromFile, results: dict) -> Optional[dict]:
        try:
            return load(self, results)
        except Exception as error:
            path = results.get('img_path')
            if path is None or self.ignore_empty:
                raise
            cause = 'it is no image, or is truncated'
            if isinstance(error, OSError):
                cause = error.strerror or str(error)
            raise ConfigError(
                f'image {path} cannot be read: {cause}. Copy it again, or take it out of the data'
            ) from None

    return load_or_name


def apply() -> None:
    """Apply the repair once."""
    if not hasattr(LoadImageFromFile.transform, '__wrapped__'):
        LoadImageFromFile.transform = name_files(LoadImageFromFile.transform)
