"""A part of the training images to validate on, so that no choice is made on the test images."""

import copy
import math
from typing import Any

from mmengine.config import Config
from mmpretrain.registry import DATASETS

from lakd_mm.errors import ConfigError

# Of the drawing, so that every trial is measured on the same images.
SEED = 0


def hold_out(cfg: Config, share: float) -> Config:
    """Return a config that trains on a part of its training images and validates on the others.

    The images that validate go through the pipeline, the batches and the metrics of the config's
    validation. What the config itself leaves out (``class_share``) stays out.

    Args:
        cfg (Config): A training of a classifier.
        share (float): The part of each class to hold out, between 0 and 1.

    Raises:
        ConfigError: If ``share`` is out of range or the config's data cannot be split.
    """
    if not 0 < share < 1:
        raise ConfigError(f'--held-out {share}: give a share between 0 and 1, as 0.1')
    cfg = Config(cfg._cfg_dict.to_dict(), filename=cfg.filename)
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        if not cfg.get(key):
            raise ConfigError(f'the config has no {key}; it trains and validates')
    split = dict(type='mmrazor.class_share', share=round(1 - share, 6), seed=SEED)
    training = holder_of(cfg.train_dataloader, 'train_dataloader')
    images = training['dataset']
    training['dataset'] = dict(split, dataset=images)

    validation = holder_of(cfg.val_dataloader, 'val_dataloader')
    others = copy.deepcopy(images)
    source, tested = _innermost(others), _innermost(validation['dataset'])
    source.pop('pipeline', None)
    if 'pipeline' in tested:
        source['pipeline'] = copy.deepcopy(tested['pipeline'])
    validation['dataset'] = dict(split, rest=True, dataset=others)
    # Memory banks (CRD) have a row for each image that trains.
    if (cfg.get('data_preprocessor') or {}).get('num_classes'):
        shrink_banks(cfg.model, 1 - share, cfg.data_preprocessor.num_classes)
    cfg.val_cfg = cfg.get('val_cfg') or {}
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    return cfg


def count_held_out(cfg: Config) -> int:
    """Return how many images :func:`hold_out` has left to validate on.

    Raises:
        ConfigError: If there are none of some class.
    """
    split = holder_of(cfg.val_dataloader, 'val_dataloader')['dataset']
    try:
        return len(DATASETS.build(split))
    except ConfigError as error:
        share = round(1 - split['share'], 6)
        raise ConfigError(f'--held-out {share}: it cannot be drawn. {error}') from None


def shrink_banks(model: Any, share: float, num_classes: int) -> None:
    """Fit memory banks, which have a row for each training image (CRD), to fewer images."""
    for part in model.values() if isinstance(model, dict) else model:
        if isinstance(part, (dict, list)):
            shrink_banks(part, share, num_classes)
    if isinstance(model, dict) and 'num_data' in model:
        of_class, rest = divmod(model['num_data'], num_classes)
        # Classes of different sizes, each rounded up, are at most one image a class more.
        rows = num_classes * math.ceil(round(share * of_class, 6))
        model['num_data'] = rows + (num_classes + math.ceil(share * rest) if rest else 0)


def holder_of(node: Any, key: str) -> Any:
    """Find what holds the data set below wrappers such as ``InMemory``; a share is a data set."""
    while isinstance(node.get('dataset'), dict):
        inner = node['dataset']
        if 'datasets' in inner:
            raise ConfigError(f'{key}: several data sets in one cannot be split; name one of them')
        if 'dataset' not in inner or 'share' in inner:
            return node
        node = inner
    raise ConfigError(f'{key} names no data set that can be split')


def _innermost(dataset: Any) -> Any:
    """Find the data set below all wrappers."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset
