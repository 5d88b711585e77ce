"""A data set held in memory as one tensor, read a batch at a time."""

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from mmpretrain.structures import DataSample
from mmrazor.registry import DATASETS
from torch.utils.data import Dataset

from ..errors import ConfigError


@FUNCTIONS.register_module()
def whole_batch(batch: Any) -> Any:
    """Return a batch as it is: a ``collate_fn`` for data sets that make whole batches."""
    return batch


@DATASETS.register_module()
class InMemory(Dataset):
    """Any classification data set of small images, as one uint8 tensor on the device.

    One index operation reads a batch, without worker processes. The data preprocessor
    (:class:`CropFlipDataPreprocessor`) crops, flips and normalises the whole batch at once. The
    data loader still samples: any sampler works, with shuffling and sharding. The loader needs
    ``num_workers=0``, ``pin_memory=False`` and ``collate_fn=dict(type='whole_batch')``.

    Args:
        dataset (dict | Dataset): The data set, such as MMPretrain's ``CIFAR100`` or
            ``CustomDataset``, whose pipeline may only load images.
        device (str, optional): The device that holds the images. Defaults to the GPU of this
            process, or the CPU if there is none.

    Raises:
        ConfigError: If images differ in size or are not uint8.

    Examples:
        >>> train_dataloader = dict(
        ...     batch_size=64,
        ...     num_workers=0,
        ...     pin_memory=False,
        ...     collate_fn=dict(type='whole_batch'),
        ...     dataset=dict(
        ...         type='mmrazor.InMemory',
        ...         dataset=dict(type='mmpretrain.CIFAR100', data_root='data/cifar100')),
        ...     sampler=dict(type='DefaultSampler', shuffle=True))
    """

    def __init__(self, dataset: Union[dict, Dataset], device: Optional[str] = None):
        if isinstance(dataset, dict):
            dataset = MMPRETRAIN_DATASETS.build(dict(dict(pipeline=[]), **dataset))
        self.metainfo = dataset.metainfo
        self.data_root = getattr(dataset, 'data_root', '')  # for messages
        self.images = self._load(dataset).to(device or get_device())
        labels = torch.as_tensor(dataset.get_gt_labels(), dtype=torch.long)[:, None]
        # Make the samples once: making them anew would cost more than the rest of a batch. Each has
        # its own label, since pickling a view would pickle all of them.
        self.samples = [
            DataSample(metainfo=dict(sample_idx=i), gt_label=label.clone())
            for i, label in enumerate(labels.to(self.images.device))
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> dict:
        """Return a batch.

        Args:
            indices (Sequence[int]): Indices of the images.

        Returns:
            dict: ``inputs``, uint8 of shape (N, C, H, W), and ``data_samples``, a list of N.
        """
        index = torch.as_tensor(indices, device=self.images.device)
        return dict(inputs=self.images[index], data_samples=[self.samples[i] for i in indices])

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=self.images[index], data_samples=self.samples[index])

    @staticmethod
    def _load(dataset: Dataset) -> torch.Tensor:
        """Load all images as one tensor of shape (N, C, H, W)."""
        images, shape = None, None
        for i in range(len(dataset)):
            image = np.asarray(dataset[i]['img'])
            if images is None:
                shape = image.shape
                images = np.empty((len(dataset), *shape), dtype=np.uint8)
            if image.shape != shape or image.dtype != np.uint8:
                raise ConfigError(
                    f'InMemory: image {i} is {image.dtype} of shape {image.shape}, image 0 has '
                    f'the shape {shape}; all must be uint8 of one size. Add a resizing step to '
                    f"the inner data set's pipeline, or read the images one by one without InMemory"
                )
            images[i] = image
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
