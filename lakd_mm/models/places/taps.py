"""Where a network is tapped: residual blocks counted as in the LAKD paper, or module names."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from numbers import Integral
from typing import Optional, Union

import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError, near_names

Tap = Union[int, str]


def find_backbone(model: nn.Module) -> tuple[str, nn.Module]:
    """Return a classifier's backbone and 'backbone.', or a bare network itself and ''."""
    backbone = getattr(model, 'backbone', None)
    return ('backbone.', backbone) if isinstance(backbone, nn.Module) else ('', model)


def stage_blocks(model: nn.Module) -> list[list[str]]:
    """Return the names of a classifier's residual blocks, a list for each stage.

    Stages are the containers that OpenMMLab, torchvision and timm call ``layer1``, ``layer2``, …
    or the members of ``stages``; a block is a child of one.

    Args:
        model (nn.Module): A classifier (its ``backbone`` is searched) or a bare backbone.

    Returns:
        List[List[str]]: Module names in the order in which they run; empty without such stages.
    """
    prefix, root = find_backbone(model)
    for name, module in root.named_modules():
        base = f'{prefix}{name}.' if name else prefix
        found = [
            (int(match[1]), f'{base}{child}', stage)
            for child, stage in module.named_children()
            if (match := re.fullmatch(r'layer(\d+)', child)) and _is_container(stage)
        ]
        if not found and _is_container(getattr(module, 'stages', None)):
            stages = [(i, f'{base}stages.{i}', stage) for i, stage in enumerate(module.stages)]
            found = [stage for stage in stages if _is_container(stage[2])]
        if found:
            found.sort(key=lambda item: item[0])
            return [[f'{name}.{c}' for c, _ in stage.named_children()] for _, name, stage in found]
    return []


def _is_container(module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList))


def stage_end_taps(model: nn.Module) -> list[int]:
    """Return the last block of each stage, 1-based: the default taps of a teacher."""
    return list(accumulate(map(len, stage_blocks(model))))


def resolve_taps(model: nn.Module, taps: Sequence[Tap], key: str = 'taps') -> list[str]:
    """Turn taps into module names.

    Args:
        model (nn.Module): The network that is tapped.
        taps (Sequence[int | str]): 1-based residual blocks, or module names.
        key (str): The config key that gave them, for messages. Defaults to 'taps'.

    Returns:
        List[str]: A module name for each tap.

    Raises:
        ConfigError: If there is no tap, a tap is past the last block or no module, taps are out of
            order or twice there, or one lies inside another.
    """
    taps = taps if isinstance(taps, (str, Integral)) else list(taps)
    if not isinstance(taps, list) or not taps:
        raise ConfigError(f'{key}={taps!r}: give a list of residual blocks or module names')
    blocks = [name for stage in stage_blocks(model) for name in stage]
    modules = dict(model.named_modules())
    names = []
    for tap in taps:
        if isinstance(tap, str):
            if tap not in modules or not tap:
                raise ConfigError(
                    f'{key}={taps}: the network has no module {tap!r}; {near_names(tap, modules)}'
                )
            names.append(tap)
        elif not isinstance(tap, Integral) or isinstance(tap, bool):
            raise ConfigError(f'{key}={taps}: {tap!r} is neither a block nor a module name')
        elif not blocks:
            raise ConfigError(
                f'{key}={taps}: {type(model).__name__} has no residual blocks to count '
                f'(no layer1, layer2, … or stages); give module names instead'
            )
        elif not 1 <= tap <= len(blocks):
            raise ConfigError(
                f'{key}={taps}: there is no residual block {tap}, the network has '
                f'{len(blocks)}, counted from 1'
            )
        else:
            names.append(blocks[tap - 1])
    _check_order(taps, names, list(modules), key)
    return names


def linear_layers(model: nn.Module) -> list[str]:
    """Return the names of a network's linear layers."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def find_classifier(model: nn.Module) -> str:
    """Return the name of a network's last linear layer, the classifier; 'head.fc' in MMPretrain.

    Raises:
        ConfigError: If the network has no linear layer.
    """
    linears = linear_layers(model)
    if not linears:
        raise ConfigError(f'{type(model).__name__} has no linear layer, so no logits to record')
    return linears[-1]


def pre_relu_record(model: nn.Module, tap: str) -> tuple[dict, dict, Optional[str]]:
    """Return how to record the feature of a residual block before the ReLU that ends it.

    That ReLU is the block's own ``relu``, or, where a block starts with its normalization and
    ReLU (``pre_activation = True``), the next block's or that behind the last block. A block that
    no ReLU ends (``linear_output = True``) is recorded as it is.

    Returns:
        Tuple[dict, dict, str | None]: The recorder's config, which of its records, and the name of
        the BatchNorm in front of that ReLU, None if the block has none.

    Raises:
        ConfigError: If no such ReLU is found.
    """
    modules = dict(model.named_modules())
    if getattr(modules[tap], 'linear_output', False):
        norms = [n for n, m in modules[tap].named_modules(prefix=tap) if isinstance(m, _BatchNorm)]
        return dict(type='mmrazor.ModuleOutputs', source=tap), {}, norms[-1]
    block, index = tap, -1
    if getattr(modules[tap], 'pre_activation', False):
        blocks = [name for stage in stage_blocks(model) for name in stage]
        later = blocks[blocks.index(tap) + 1 :]
        block, index = (later[0], 0) if later else (find_backbone(model)[0][:-1], -1)
    inside = f'{block}.' if block else ''
    if f'{inside}relu' not in modules:
        raise ConfigError(
            f'{type(model).__name__}: {tap!r} has no ReLU to record before (no {inside}relu); '
            f"use position 'post_relu'"
        )
    if block == tap:
        norms = [n for n, m in modules[tap].named_children() if isinstance(m, _BatchNorm)]
        norm = f'{tap}.{norms[-1]}' if norms else None
    else:
        norm = f'{inside}bn1'
    recorder = dict(type='mmrazor.ModuleInputs', source=f'{inside}relu')
    return recorder, dict(record_idx=index, data_idx=0), norm


def compile_blocks(model: nn.Module, **options) -> int:
    """Compile residual blocks one by one, in place, except those with hooks; return how many.

    Copies of the classifier are not compiled, checkpoints not affected. ``options`` are those of
    :func:`torch.compile`.
    """
    count = 0
    for name in (name for stage in stage_blocks(model) for name in stage):
        block = model.get_submodule(name)
        if not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules()):
            block.compile(**options)
            count += 1
    return count


def _check_order(taps: Sequence[Tap], names: list[str], modules: list[str], key: str):
    """Raise unless taps come one after another, as far as the network's definition says it."""
    for (tap, name), (next_tap, next_name) in pairwise(zip(taps, names)):
        inside = name.startswith(f'{next_name}.') or next_name.startswith(f'{name}.')
        backwards = modules.index(name) >= modules.index(next_name)
        if inside or (backwards and _are_numbered(name, next_name)):
            problem = 'lies inside' if inside else 'does not come after'
            raise ConfigError(
                f'{key}={list(taps)}: {next_tap!r} {problem} {tap!r}; give each tap once, in the '
                f'order in which the network runs'
            )


def _are_numbered(name: str, other: str) -> bool:
    """Return whether two names part at a number, as ``layer1.0`` and ``layer2.3``.

    Stages and what lies between them may be defined apart and run in turns.
    """
    parts = zip(name.split('.'), other.split('.'))
    first = next(((a, b) for a, b in parts if a != b), ('', ''))
    return len({re.sub(r'\d+', '', part) for part in first}) == 1
