"""Repair of MMCV's reading of images: one that cannot be read is named, or skipped and counted.

All releases raise whatever goes wrong, without the file, in the middle of a training. With
``ignore_empty=True`` they skip in silence what is absent, but not what is damaged.
"""

import functools
import multiprocessing
from collections.abc import Callable
from typing import Optional

import cv2
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log

from ..errors import ConfigError

# Images that were skipped, in this process and those that it forks to load data.
skipped = multiprocessing.get_context('fork').Value('i', 0)


def repair_transform(transform: Callable) -> Callable:
    """Name what cannot be read; skip it if ``ignore_empty`` says so."""

    @functools.wraps(transform)
    def read_or_name(self: LoadImageFromFile, results: dict) -> Optional[dict]:
        path = results['img_path']
        try:
            found = transform(self, results)
            why = 'it is absent or no image'
        except FileNotFoundError:
            found, why = None, 'it does not exist'
        except (AssertionError, OSError, ValueError, SyntaxError, cv2.error) as error:
            text = ' '.join(str(error).split())
            found, why = None, text if 'pixels' in text else 'it is damaged, or no image'
        if found is not None:
            return found
        if not self.ignore_empty:
            raise ConfigError(
                f"image '{path}' cannot be read: {why}. Replace it or delete it, or set "
                f'ignore_empty=True in LoadImageFromFile of the pipeline to skip such images.'
            )
        with skipped.get_lock():
            skipped.value += 1
            count = skipped.value
        print_log(f"Skipped '{path}': {why}. That is number {count}.", 'current')
        return None

    return read_or_name


def apply():
    """Apply the repair once."""
    if not hasattr(LoadImageFromFile.transform, '__wrapped__'):
        LoadImageFromFile.transform = repair_transform(LoadImageFromFile.transform)
