"""CIFAR as it was published, in pickles, or as images in folders: whichever its root holds."""

import os
import os.path as osp

import mmcv
import mmpretrain.datasets
from mmrazor.registry import DATASETS

from ..errors import ConfigError


class _AnyLayout:
    """Reads images in folders too, as the arrays in RGB order that the pickles hold.

    Looked for under ``data_root``, in this order:

    - the pickles or their archive, which MMPretrain's class reads;
    - images in folders, ``{train,test}/<class>/<image>``. Labels are those of the data set where
      the folders have the names or numbers of its classes, else they follow the alphabet;
    - nothing at all: MMPretrain's class downloads the pickles, unless ``download=False``.

    Args:
        data_root (str): The folder.
        split (str): 'train' or 'test'.
        **kwargs: Arguments of MMPretrain's class (``pipeline``, ``download``…).

    Raises:
        ConfigError: If ``data_root`` holds something else, or images cannot be read.
    """

    @classmethod
    def find_layout(cls, data_root: str, split: str = 'train', download: bool = True) -> str:
        """Tell how the images lie: 'pickles', which may have to be downloaded yet, or 'folders'.

        Raises:
            ConfigError: If neither is there.
        """
        held = sorted(os.listdir(data_root)) if osp.isdir(data_root) else []
        if '://' in data_root or cls.base_folder in held or cls.filename in held:
            return 'pickles'
        if osp.isdir(osp.join(data_root, split)):
            return 'folders'
        if download and not held:
            return 'pickles'
        found = f'holds {", ".join(held[:5])}' if held else 'is empty or does not exist'
        raise ConfigError(
            f'data_root: {data_root} {found} (looked in {osp.abspath(data_root)}); wanted are '
            f'{cls.base_folder}/ or {cls.filename}, as published, or folders of images, '
            f'{split}/<class>/. Put one of these there, or name another folder in the environment '
            f'variable {cls.__name__}_ROOT; without download=False, an absent or empty folder is '
            f'filled from {cls.url}.'
        )

    def load_data_list(self) -> list:
        """Read all images: one dict(img=(32, 32, 3) uint8 in RGB order, gt_label=int) each."""
        root = self.data_prefix['root']
        if self.find_layout(root, self.split, self.download) == 'pickles':
            return super().load_data_list()
        folder = osp.join(root, self.split)
        labels = self._labels(folder)
        listed = mmpretrain.datasets.CustomDataset(data_prefix=folder)
        return [
            dict(sample, img=_read(sample['img_path']), gt_label=labels[sample['gt_label']])
            for sample in (listed.get_data_info(i) for i in range(len(listed)))
        ]

    def _labels(self, folder: str) -> list:
        """Return the label of each folder of a class, in alphabetical order."""
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        classes = self.METAINFO['classes']
        if names and set(names) <= set(classes):
            return [classes.index(name) for name in names]
        if names and set(names) <= set(map(str, range(len(classes)))):
            return [int(name) for name in names]
        if len(names) == len(classes):
            self._metainfo['classes'] = tuple(names)
            return list(range(len(names)))
        raise ConfigError(
            f'data_root: {osp.abspath(folder)} holds {len(names)} folders ({", ".join(names[:3])}'
            f'…), and {type(self).__name__} has {len(classes)} classes. Name the folders as the '
            f'classes ({classes[0]}, {classes[1]}…), or by their numbers from 0.'
        )


def _read(path: str):
    """Read an image file as an array of shape (H, W, 3) in RGB order."""
    image = mmcv.imread(path)
    if image is None:
        raise ConfigError(f'data_root: OpenCV cannot read {path}; replace it or delete it.')
    return mmcv.bgr2rgb(image)


@DATASETS.register_module()
class CIFAR10(_AnyLayout, mmpretrain.datasets.CIFAR10):
    """CIFAR-10, from MMPretrain's pickles or from folders."""

    __doc__ += _AnyLayout.__doc__.partition('\n')[2]


@DATASETS.register_module()
class CIFAR100(_AnyLayout, mmpretrain.datasets.CIFAR100):
    """CIFAR-100, from MMPretrain's pickles or from folders."""

    __doc__ += _AnyLayout.__doc__.partition('\n')[2]
