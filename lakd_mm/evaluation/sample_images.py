"""Sample the same test images for all compared networks."""

import copy
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Subset

from ..engine.config_checks import plain_datasets
from ..errors import ConfigError
from ..models.nested import map_dicts, type_name


def sample_images(
    cfg: Config, count: int, batch_size: int = 250, seed: int = 0, split: str = 'test'
) -> DataLoader:
    """Load randomly drawn images of a config's data set, in the order of the set.

    Args:
        cfg (Config): A config with a ``test_dataloader``, or else a ``val_dataloader``.
        count (int): Number of images; all of them, if there are fewer.
        batch_size (int): Images in a batch. Defaults to 250.
        seed (int): Seed of the drawing. Defaults to 0.
        split (str): 'test', or 'train' for training images, prepared like test images, without
            augmentation. Defaults to 'test'.

    Raises:
        ConfigError: If the config has no such images, or a number is not positive.
    """
    loaders = dict(train=cfg.get('train_dataloader'), test=test_loader(cfg))
    for name in ('test', split):
        if not loaders[name]:
            raise ConfigError(
                f'config {cfg.filename}: it has no {name}_dataloader to take images from'
            )
    if count < 1 or batch_size < 1:
        raise ConfigError(f'{count} images in batches of {batch_size}: both must be positive')
    options = copy.deepcopy(loaders[split])
    if split == 'train':
        options.dataset = _training_data(cfg)
    dataset = DATASETS.build(options.pop('dataset'))
    chosen = draw_indices(len(dataset), count, seed)
    options.pop('batch_sampler', None)
    options.update(
        dataset=Subset(dataset, chosen.tolist()),
        batch_size=batch_size,
        sampler=dict(type='DefaultSampler', shuffle=False),
        persistent_workers=False,
        drop_last=False,
    )
    options.setdefault('collate_fn', dict(type='default_collate'))
    return Runner.build_dataloader(options)


def test_split(cfg: Config) -> str:
    """Return 'test', or 'val' for the many trainings that have images for validation only."""
    return 'test' if cfg.get('test_dataloader') else 'val'


def test_loader(cfg: Config) -> Any:
    """Return the loader of test images."""
    return cfg.get(f'{test_split(cfg)}_dataloader')


def _training_data(cfg: Config) -> dict:
    """Return the training data's config with the test data's pipeline."""
    test, train = test_loader(cfg).dataset, cfg.train_dataloader.dataset
    if type_name(train) != 'InMemory':  # whose pipeline only loads
        pipelines = [part.get('pipeline', []) for _, part in plain_datasets(test, '')]
        pipeline = [*pipelines[0]]
        if type_name(test) == 'InMemory':
            pipeline.append(dict(type='PackInputs'))
        train = map_dicts(
            lambda part: dict(part, pipeline=pipeline) if 'pipeline' in part else part, train
        )
    if train == test:
        raise ConfigError(f'config {cfg.filename}: its training images are its test images')
    return train


def draw_indices(size: int, count: int, seed: int = 0) -> torch.Tensor:
    """Draw ``count`` of ``size`` indices in ascending order; all of them, if there are fewer."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values


@torch.no_grad()
def class_names(
    loader: DataLoader,
    networks: Mapping[str, nn.Module],
    images: torch.Tensor,
    must_fit: bool = True,
) -> list[str]:
    """Return the names of the test images' classes, or numbers if the data set has none.

    Args:
        loader (DataLoader): The images.
        networks (Dict[str, nn.Module]): Classifiers by name, in eval mode.
        images (torch.Tensor): Some of them, prepared, shape (N, C, H, W).
        must_fit (bool): Whether the networks must have as many classes. Defaults to True.

    Raises:
        ConfigError: If ``must_fit`` and a network has another number of classes.
    """
    numbers = {
        name: network(images[:1], mode='tensor').shape[1] for name, network in networks.items()
    }
    classes = getattr(loader.dataset.dataset, 'metainfo', {}).get('classes')
    classes = classes or range(next(iter(numbers.values())))
    for name, number in numbers.items():
        if must_fit and number != len(classes):
            raise ConfigError(
                f'{name} has {number} classes, but the test images have {len(classes)}; use '
                f'configs of the same data'
            )
    return [str(name).replace('_', ' ') for name in classes]


def check_normalization(preprocessor: nn.Module, other: nn.Module, name: str):
    """Raise a ConfigError unless two data preprocessors have the same mean and deviation.

    The order of channels may differ. ``other`` is that of the network ``name``, which gets the
    images of ``preprocessor``.
    """

    def numbers(module: nn.Module) -> list[list[float]]:
        given = (getattr(module, key, None) for key in ('mean', 'std'))
        return [value.flatten().tolist() for value in given if value is not None]

    # Configs round them.
    sides = [list(chain(*numbers(module))) for module in (preprocessor, other)]
    near = all(math.isclose(*pair, rel_tol=1e-3) for pair in zip(*sides))
    if len(sides[0]) != len(sides[1]) or not near:
        raise ConfigError(
            f'{name} was trained on images normalised by {numbers(other)}, but the images here are '
            f'normalised by {numbers(preprocessor)}; use configs of the same data'
        )


def inputs_of(batch: Any, preprocessor: nn.Module) -> torch.Tensor:
    """Prepare the images of a batch for a network, shape (N, C, H, W)."""
    return preprocessor(dict(inputs=batch['inputs']), training=False)['inputs']
