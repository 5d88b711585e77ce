"""Real handwritten digits that need no download."""

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmrazor.registry import DATASETS

from ..errors import ConfigError


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1797 scanned digits that scikit-learn ships, at the size of CIFAR images.

    Each 8x8 scan of 17 grey levels is repeated to 32x32 and three channels, 0 to 255. Every fifth
    scan of a class is a test image. There are 1442 train and 355 test images, always the same ones.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, doi 10.24432/C50P49; read through ``sklearn.datasets.load_digits``.

    Args:
        split (str): 'train' or 'test'.
        **kwargs: Arguments of :class:`mmpretrain.datasets.BaseDataset` (``pipeline``,
            ``indices``, ``test_mode``...).

    Raises:
        ValueError: If ``split`` is another name, or an argument would be ignored.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', **kwargs):
        if split not in ('train', 'test'):
            raise ValueError(f"Digits: split must be 'train' or 'test', not {split!r}.")
        for name in ('data_root', 'data_prefix', 'filter_cfg'):
            if kwargs.get(name):
                raise ConfigError(
                    f'Digits: {name}={kwargs[name]!r} would be ignored, since the images come '
                    f'with scikit-learn; leave it out'
                )
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list:
        """Return a dict for each image: img=(32, 32, 3) uint8 and gt_label=int."""
        from sklearn.datasets import load_digits

        scans, labels = load_digits(return_X_y=True)
        images = np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        images = images.repeat(4, axis=1).repeat(4, axis=2)
        images = np.repeat(images[..., None], 3, axis=3)

        test = np.zeros(len(labels), dtype=bool)
        for label in range(10):
            test[np.flatnonzero(labels == label)[4::5]] = True
        chosen = np.flatnonzero(test if self.split == 'test' else ~test)
        return [dict(img=images[i], gt_label=int(labels[i])) for i in chosen]

    def extra_repr(self) -> list:
        """Return the lines to add to ``repr``."""
        return [f'Split: \t{self.split}']
