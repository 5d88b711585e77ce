"""Reduction of a data set to a share of each class."""

import math
from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from mmrazor.registry import DATASETS

from ..errors import ConfigError, refuse_ignored


@DATASETS.register_module()
def class_share(
    dataset: Union[dict, BaseDataset],
    share: float,
    seed: int = 0,
    rest: bool = False,
    pipeline: Optional[Sequence] = None,
) -> BaseDataset:
    """Reduce a data set to a share of each class; the same seed gives the same images.

    Args:
        dataset (dict | BaseDataset): The data set; an instance is changed.
        share (float): The part of each class to keep, above 0 and at most 1; rounded up to images.
        seed (int): Seed of the drawing. With one seed, a larger share contains a smaller one.
            Defaults to 0.
        rest (bool): Whether to keep the other images instead: those that a share with the same
            seed leaves out, for instance to validate on. Defaults to False.
        pipeline (Sequence, optional): The pipeline of a data set whose dict names none.

    Returns:
        BaseDataset: The same data set with fewer images, in their old order.

    Raises:
        ConfigError: If ``share`` is out of range, no image of some class is left, or an argument
            would be ignored.

    Examples:
        >>> train_dataloader = dict(
        ...     dataset=dict(
        ...         type='mmrazor.class_share',
        ...         dataset=dict(type='mmpretrain.CIFAR100', data_root='data/cifar100'),
        ...         share=0.1))
    """
    if not 0 < share <= 1:
        raise ConfigError(f'class_share: share is {share}; give a number above 0 and at most 1.')
    if share == 1 and not rest:
        refuse_ignored(class_share, 'with share=1, which keeps all images', seed=seed)
    if pipeline and (not isinstance(dataset, dict) or 'pipeline' in dataset):
        raise ConfigError(
            'class_share: pipeline would be ignored, since the data set has its own; change that'
        )
    if isinstance(dataset, dict):
        default = {} if pipeline is None else dict(pipeline=pipeline)
        dataset = MMPRETRAIN_DATASETS.build({**default, **dataset})
    dataset.full_init()
    labels = np.asarray(dataset.get_gt_labels())
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        count = math.ceil(round(share * len(of_class), 6))
        chosen = of_class[count:] if rest else of_class[:count]
        if not len(chosen):
            raise ConfigError(
                f'class_share: share={share} of the {len(of_class)} images of class {label} leaves '
                f'none for rest=True; give a smaller share.'
            )
        kept.extend(chosen.tolist())
    dataset.get_subset_(sorted(kept))
    return dataset
