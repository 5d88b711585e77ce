"""A backend for MMEngine's visualizer that writes single pictures."""

import errno
import os
import os.path as osp

import cv2
import numpy as np
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env
from mmrazor.registry import VISBACKENDS


@VISBACKENDS.register_module()
class PictureVisBackend(LocalVisBackend):
    """``LocalVisBackend`` that writes a picture under its own name, ``<save_dir>/<name>.png``.

    Args:
        save_dir (str): Folder for the pictures.
        **kwargs: Arguments of MMEngine's ``LocalVisBackend``.
    """

    def __init__(self, save_dir: str, **kwargs):
        super().__init__(save_dir, img_save_dir='', **kwargs)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Write a picture (H, W, 3), uint8, RGB, in place of an earlier one; or an OSError."""
        path = osp.join(self._save_dir, f'{name}.png')
        os.makedirs(osp.dirname(path) or '.', exist_ok=True)
        if not cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OSError(errno.EIO, 'the picture cannot be written', path)
