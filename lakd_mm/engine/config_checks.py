"""Cheap checks of a config, before anything is built."""

import difflib
import inspect
import logging
import os.path as osp
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from ..errors import ConfigError
from ..models.nested import type_name
from .config_names import check_names
from .config_values import check_fits, check_numbers

_SPLITS = ('train', 'val', 'test')
# Keys that take values of more than one kind, as a list of stages or the name of a place.
_OF_SEVERAL_KINDS = {'at', 'classes', 'crop_size', 'data_prefix', 'img_size', 'indices'}
_OF_SEVERAL_KINDS |= {'loss_scale', 'padding', 'paper_mix', 'pretrained', 'priority', 'save_best'}
_OF_SEVERAL_KINDS |= {'scale', 'size', 'target', 'teacher_ckpt', 'thrs', 'topk'}


def near_name(name: str, known: Sequence[str]) -> Optional[str]:
    """Return the known name that ``name`` seems to misspell, or None.

    Names that differ only in digits (``loss_1``, ``loss_2``) do not misspell each other.
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    # In a short name swapped letters make a large difference: detph, depth.
    near += [other for other in known if sorted(other) == sorted(name)]
    return next((other for other in near if _without_digits(other) != _without_digits(name)), None)


def check_options(cfg: Config, options: dict) -> None:
    """Check ``--cfg-options`` against the config that they will change.

    A new key is allowed, as everywhere in OpenMMLab, unless it looks like a misspelling.

    Args:
        cfg (Config): The config.
        options (dict): New values by dotted keys, such as ``{'train_cfg.max_epochs': 2}``.

    Raises:
        ConfigError: If a key leads through a value without keys, looks misspelt, or gets a value of
            another kind (dict, list, string, number, bool) than it has in the config.
    """
    if 'data_root' in options and 'data_root' in cfg:
        loaders = [(split, cfg.get(f'{split}_dataloader') or {}) for split in _SPLITS]
        keys = [
            f'{key}.data_root'
            for split, loader in loaders
            for key, _ in plain_datasets(loader.get('dataset'), f'{split}_dataloader.dataset')
        ]
        raise ConfigError(
            '--cfg-options data_root: the data sets have copied it already, so it would have no '
            'effect. Set the environment variable of the data set (CIFAR100_ROOT, CIFAR10_ROOT), '
            f'or {", ".join(keys)}.'
        )
    for key, value in options.items():
        _check_option(cfg._cfg_dict, key, value)


def check_config(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> None:
    """Check the names, the numbers and the parts of a config, before anything is built.

    Only the build checks the inside of the model.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' will be used.

    Raises:
        ConfigError: Names the key, what is wrong with it, and what to do.
    """
    check_names(cfg, splits)
    check_numbers(cfg, splits)
    check_fits(cfg, splits)


def check_data_folders(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> None:
    """Check that the files of the config's data sets exist.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' to check.

    Raises:
        ConfigError: If a folder or an annotation file is absent and the data set cannot download
            it.
    """
    for split in splits:
        dataloader = cfg.get(f'{split}_dataloader') or {}
        key = f'{split}_dataloader.dataset'
        for dataset_key, dataset in plain_datasets(dataloader.get('dataset'), key):
            _check_dataset(dataset_key, dataset)


def optim_wrappers(cfg: Config) -> list[dict]:
    """Return the config's ``optim_wrapper``, or those of the members of a cohort."""
    wrapper = cfg.get('optim_wrapper') or {}
    return list(wrapper.get('members', {}).values()) or [wrapper]


def check_amp(cfg: Config, source: str) -> None:
    """Check that this machine has the config's mixed precision; warn if float32 is faster on it.

    A process warns once.

    Args:
        cfg (Config): The config.
        source (str): The option or key that asks for it, for the message.

    Raises:
        ConfigError: If this machine has no mixed precision of the type that is asked for.
    """
    for wrapper in optim_wrappers(cfg):
        if type_name(wrapper) == 'AmpOptimWrapper':
            _check_dtype(str(wrapper.get('dtype') or '').removeprefix('torch.'), source)


def _check_dtype(dtype: str, source: str) -> None:
    device = get_device()
    if device == 'mps':
        raise ConfigError(
            f"{source}: mixed precision (MMEngine's AmpOptimWrapper) does not run on MPS. Leave it "
            f'out to train in float32.'
        )
    if device == 'cpu' and dtype not in ('', 'bfloat16'):
        raise ConfigError(
            f'{source}: a CPU trains in bfloat16, not in {dtype}. Use --amp bf16, or '
            f"optim_wrapper.dtype='bfloat16'."
        )
    if device == 'cuda' and dtype == 'bfloat16' and not torch.cuda.is_bf16_supported():
        raise ConfigError(f'{source}: this GPU has no bfloat16. Use --amp fp16.')
    if device == 'cpu' and not cpu_has_bf16():
        _warn_of_slow_bf16(source)


@cache
def _warn_of_slow_bf16(source: str) -> None:
    print_log(
        f'{source}: this CPU has no bfloat16 arithmetic (avx512_bf16, avx512_fp16, amx_bf16); '
        f'float32 is faster on it.',
        logger='current',
        level=logging.WARNING,
    )


def best_half() -> str:
    """Return this machine's type for mixed precision, 'bfloat16' or 'float16'."""
    if get_device() == 'cuda' and not torch.cuda.is_bf16_supported():
        return 'float16'
    return 'bfloat16'


def cpu_has_bf16() -> bool:
    """Tell whether this CPU computes in bfloat16; True where torch does not say."""
    capabilities = getattr(torch.cpu, 'get_capabilities', dict)()
    names = ('avx512_bf16', 'avx512_fp16', 'amx_bf16')
    return capabilities.get('architecture') != 'x86_64' or any(map(capabilities.get, names))


def _without_digits(name: str) -> str:
    return ''.join(letter for letter in name if not letter.isdigit())


def _kind(value: Any) -> Optional[str]:
    """Name the kind of a config value; return None for None and classes, which fit anything."""
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
    """Follow ``key`` into the config, as far as the config goes."""
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
    """Raise a ConfigError if ``new`` is of another kind than ``old``."""
    kind, new_kind = _kind(old), _kind(new)
    if kind is None or new_kind is None or kind == new_kind:
        return
    if kind == 'a bool' and new in (0, 1):
        return
    if key.rpartition('.')[2] in _OF_SEVERAL_KINDS:
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


def plain_datasets(dataset: Any, key: str) -> Iterator[tuple[str, dict]]:
    """Yield the data sets inside wrappers (``RepeatDataset``, ``ConcatDataset``…), with keys."""
    if not isinstance(dataset, dict):
        return
    if 'dataset' in dataset:
        yield from plain_datasets(dataset['dataset'], f'{key}.dataset')
    elif 'datasets' in dataset:
        for index, part in enumerate(dataset['datasets']):
            yield from plain_datasets(part, f'{key}.datasets.{index}')
    else:
        yield key, dataset


def _downloads(kind: Optional[type], dataset: dict) -> bool:
    """Return whether a data set downloads absent files, as MMPretrain's CIFAR and MNIST do."""
    default = kind is not None and inspect.signature(kind).parameters.get('download')
    return bool(dataset.get('download', default and default.default))


def _is_served(dataset: dict) -> bool:
    """Return whether a backend other than the disk gives a data set's files."""
    parts = [dataset, *(dataset.get('pipeline') or ())]
    given = [part.get('backend_args') for part in parts if isinstance(part, dict)]
    return any(args and args.get('backend', 'local') not in ('local', 'disk') for args in given)


def _check_dataset(key: str, dataset: dict) -> None:
    """Check ``data_root``, then the paths below it."""
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    root = dataset.get('data_root') or ''
    if hasattr(kind, 'find_layout'):
        try:
            kind.find_layout(root, dataset.get('split', 'train'), dataset.get('download', True))
        except ConfigError as error:
            raise ConfigError(f'{key}.{error}') from None
        return
    if _downloads(kind, dataset) or _is_served(dataset):
        return
    prefix = dataset.get('data_prefix') or ''
    prefixes = (
        {f'data_prefix.{name}': value for name, value in prefix.items()}
        if isinstance(prefix, dict)
        else {'data_prefix': prefix}
    )
    for name, value in {'data_root': root, **prefixes, 'ann_file': dataset.get('ann_file')}.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            path = osp.expanduser(root if name == 'data_root' else osp.join(root, one or ''))
            if one and '://' not in path and not osp.exists(path):
                raise ConfigError(
                    f'{key}.{name}: {one} does not exist (looked for {osp.abspath(path)}). '
                    f'Put the data there, or say where they are: --cfg-options {key}.{name}=PATH'
                )
