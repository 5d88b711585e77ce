"""Checks of a config that cost nothing and come before anything is built."""

import difflib
import inspect
import os.path as osp
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.registry import DATASETS

from ..errors import ConfigError

_SPLITS = ('train', 'val', 'test')


def near_name(name: str, known: Sequence[str]) -> Optional[str]:
    """Returns the known name that ``name`` seems to be a misspelling of, or None.

    Names that differ in digits alone (``loss_1``, ``loss_2``) are no misspellings of each other.
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    # Swapped letters weigh much in a short name: detph, depth.
    near += [other for other in known if sorted(other) == sorted(name)]
    return next((other for other in near if _without_digits(other) != _without_digits(name)), None)


def check_options(cfg: Config, options: dict) -> None:
    """Checks ``--cfg-options`` against the config that they are about to change.

    A new key is allowed, as everywhere in OpenMMLab, unless it looks like a misspelling.

    Args:
        cfg (Config): The config.
        options (dict): New values by dotted keys, such as ``{'train_cfg.max_epochs': 2}``.

    Raises:
        ConfigError: If a key goes through something that has no keys, looks misspelt, or has a
            value of another kind (dict, list, string, number, bool) than the config's.
    """
    if 'data_root' in options and 'data_root' in cfg:
        loaders = [(split, cfg.get(f'{split}_dataloader') or {}) for split in _SPLITS]
        keys = [
            f'{key}.data_root'
            for split, loader in loaders
            for key, _ in _plain_datasets(loader.get('dataset'), f'{split}_dataloader.dataset')
        ]
        raise ConfigError(
            '--cfg-options data_root: the data sets have taken it over already, so it would change '
            'nothing. Set the environment variable of the data set (CIFAR100_ROOT, CIFAR10_ROOT), '
            f'or {", ".join(keys)}.'
        )
    for key, value in options.items():
        _check_option(cfg._cfg_dict, key, value)


def check_data_folders(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> None:
    """Checks that the data that the data sets of the config name exist.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' to look at.

    Raises:
        ConfigError: If a folder or an annotation file is absent and the data set does not download.
    """
    for split in splits:
        dataloader = cfg.get(f'{split}_dataloader') or {}
        key = f'{split}_dataloader.dataset'
        for dataset_key, dataset in _plain_datasets(dataloader.get('dataset'), key):
            _check_dataset(dataset_key, dataset)


def check_amp(cfg: Config, source: str) -> None:
    """Checks that mixed precision, if asked for, can work here.

    Args:
        cfg (Config): The config.
        source (str): What asked for it, for the message.

    Raises:
        ConfigError: If MMEngine's ``AmpOptimWrapper`` would have no accelerator to run on.
    """
    wrapper = (cfg.get('optim_wrapper') or {}).get('type')
    if wrapper == 'AmpOptimWrapper' and get_device() in ('cpu', 'mps'):
        raise ConfigError(
            f"{source}: mixed precision (MMEngine's AmpOptimWrapper) needs a GPU, and none is "
            'visible here. Leave it out to train in float32.'
        )


def _without_digits(name: str) -> str:
    return ''.join(letter for letter in name if not letter.isdigit())


def _kind(value: Any) -> Optional[str]:
    """Names the kind of a config value; None for None and for classes, which clash with nothing."""
    if isinstance(value, bool):
        return 'a bool'
    for kind, types in {
        'a number': (int, float),
        'a string': str,
        'a list': (list, tuple),
        'a dict': dict,
    }.items():
        if isinstance(value, types):
            return kind
    return None


def _check_option(node: Any, key: str, value: Any) -> None:
    """Walks down the config along ``key``, as far as the config goes."""
    walked = ''
    for name in key.split('.'):
        where = walked or 'the config'
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {where} is a list of {len(node)}, and {name!r} is no '
                    f'index of it. Use 0 to {len(node) - 1}, as in {walked}.0.'
                )
            node = node[int(name)]
            if not isinstance(node, (dict, list)):
                raise ConfigError(
                    f'--cfg-options {key}: MMEngine cannot change one element of {where}. Give '
                    f'the whole list, as in "{walked}=[…]".'
                )
        elif isinstance(node, dict):
            if name not in node:
                near = near_name(name, list(node))
                if near:
                    raise ConfigError(
                        f'--cfg-options {key}: {where} has no key {name!r}. Did you mean '
                        f'{near!r}? (If not, set {name!r} in the config file.)'
                    )
                return
            node = node[name]
        else:
            raise ConfigError(
                f'--cfg-options {key}: {walked} is {node!r} in the config, so it has no key '
                f'{name!r}. Write the dict that you want into the config file.'
            )
        walked = f'{walked}.{name}'.lstrip('.')
    _check_kind(node, key, value)


def _check_kind(old: Any, key: str, new: Any) -> None:
    """Raises if ``new`` is of another kind than ``old``."""
    kind, new_kind = _kind(old), _kind(new)
    if kind is None or new_kind is None or kind == new_kind:
        return
    if kind == 'a bool' and new in (0, 1):
        return
    if kind == 'a dict':
        hint = f'Set one of its keys instead: {", ".join(f"{key}.{name}" for name in old)}.'
    elif kind == 'a list':
        hint = f'A list of one is written --cfg-options "{key}=[{new}]".'
    else:
        hint = f'Give {kind}.'
    shown = kind if kind == 'a dict' else f'{kind} ({old!r})'
    raise ConfigError(
        f'--cfg-options {key}={new}: that is {new_kind}, the config has {shown}. {hint}'
    )


def _plain_datasets(dataset: Any, key: str) -> Iterator[tuple[str, dict]]:
    """Yields the data sets inside wrappers (``RepeatDataset``, ``ConcatDataset``…), with keys."""
    if not isinstance(dataset, dict):
        return
    if 'dataset' in dataset:
        yield from _plain_datasets(dataset['dataset'], f'{key}.dataset')
    elif 'datasets' in dataset:
        for index, part in enumerate(dataset['datasets']):
            yield from _plain_datasets(part, f'{key}.datasets.{index}')
    else:
        yield key, dataset


def _downloads(kind: Optional[type], dataset: dict) -> bool:
    """Tells whether a data set fetches what is absent (MMPretrain's CIFAR and MNIST do)."""
    default = kind is not None and inspect.signature(kind).parameters.get('download')
    return bool(dataset.get('download', default and default.default))


def _check_dataset(key: str, dataset: dict) -> None:
    """Checks ``data_root``, then what lies under it."""
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    root = dataset.get('data_root') or ''
    if hasattr(kind, 'find_layout'):
        try:
            kind.find_layout(root, dataset.get('split', 'train'), dataset.get('download', True))
        except ConfigError as error:
            raise ConfigError(f'{key}.{error}') from None
        return
    if _downloads(kind, dataset):
        return
    prefix = dataset.get('data_prefix') or ''
    prefixes = (
        {f'data_prefix.{name}': value for name, value in prefix.items()}
        if isinstance(prefix, dict)
        else {'data_prefix': prefix}
    )
    for name, value in {'data_root': root, **prefixes, 'ann_file': dataset.get('ann_file')}.items():
        path = osp.expanduser(root if name == 'data_root' else osp.join(root, value or ''))
        if value and '://' not in path and not osp.exists(path):
            raise ConfigError(
                f'{key}.{name}: {value} does not exist (looked for {osp.abspath(path)}). '
                f'Put the data there, or say where they are: --cfg-options {key}.{name}=PATH'
            )
