"""Report an error from building a part of a config as a mistake at the key of that part."""

import re
import sys
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Optional

import torch
from mmengine import registry as roots
from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from ..errors import ConfigError
from .config_file import first_line
from .config_names import unknown_type

# MMEngine's message for an unknown type.
_UNKNOWN = re.compile(r'(\S+) is not in the (\S+?)::(.+?) registry')
# PyTorch's messages for a layer that does not fit.
_MISFIT = re.compile(
    r'shapes cannot be multiplied|to have \d+ channels|running_mean should contain'
)
# Beginnings of the names of functions that build, and names of those that run a model.
_BUILDS, _RUNS = ('build_', 'init_', '_init_model_weights'), ('run_iter', 'train_step', 'val_step')


def mistake_of(error: BaseException) -> Optional[ConfigError]:
    """Return an error as a mistake in a config, if it arose while a part of one was built.

    Args:
        error (BaseException): The error.

    Returns:
        ConfigError: With the key of the part and its type; None for any other error.
    """
    if not isinstance(error, Exception) or isinstance(error, torch.OutOfMemoryError):
        return None
    frames = list(_frames(error.__traceback__))
    misfit = _misfit(error, frames)
    if misfit is not None:
        return misfit
    if any(frame.f_code.co_name in _RUNS for frame in frames):
        return None
    for frame in reversed(frames):
        backend = type(frame.f_locals.get('self')).__name__
        if isinstance(error, ImportError) and backend.endswith('VisBackend'):
            return ConfigError(
                f'vis_backends ({backend}): {first_line(error)}. Install what it needs (pip '
                f'install), or leave it out of visualizer.vis_backends'
            )
    part = next((p for frame in reversed(frames) if (p := _built_by(frame)) is not None), None)
    if part is None:
        return None
    cfg = next((c for frame in frames if (c := _config_in(frame)) is not None), None)
    key = _key_of(part, cfg._cfg_dict) if cfg is not None else ''
    name = part.get('type')
    name = name if isinstance(name, str) else getattr(name, '__name__', '')
    text = first_line(error).rstrip('.')
    unknown = _UNKNOWN.search(text)
    if unknown:
        registry = _registry(unknown[3])
        if registry is not None:
            return unknown_type(key or 'config', unknown[1], registry, unknown[2])
    where = f'{key} ({name})' if key and name else key or name or 'the config'
    if isinstance(error, ImportError):
        text += '. Install that package (pip install), or leave this part out'
    elif isinstance(error, KeyError):
        text = f'{text!r} is missing or unknown'
    return ConfigError(f'{where}: {text}. (DEBUG=1 shows where this came up)')


def _misfit(error: Exception, frames: list[FrameType]) -> Optional[ConfigError]:
    """Return the error for a layer whose size does not fit its input."""
    loading = any(frame.f_code.co_name == 'cast_data' for frame in frames) or any(
        'preprocessor' in frame.f_code.co_filename for frame in frames
    )
    if isinstance(error, KeyError) and error.args == ('inputs',) and loading:
        return ConfigError(
            "train_dataloader.dataset.pipeline: its batches have no 'inputs'; end it with "
            "dict(type='PackInputs')"
        )
    if not isinstance(error, RuntimeError) or not _MISFIT.search(str(error)):
        return None
    modules = [frame.f_locals.get('self') for frame in frames]
    modules = [module for module in modules if isinstance(module, nn.Module)]
    if not modules:
        return None
    names = {id(module): name for name, module in modules[0].named_modules()}
    name = next((names[id(m)] for m in reversed(modules) if names.get(id(m))), '')
    kind = type(modules[-1]).__name__
    return ConfigError(
        f'model.{name} ({kind}): {first_line(error)}. Its size does not fit what comes into it; '
        f'change in_channels, or what is before it'
    )


def _frames(trace: Optional[TracebackType]) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _built_by(frame: FrameType) -> Optional[Mapping]:
    """Return the part of a config that a function builds, or None for other functions."""
    if not frame.f_code.co_name.startswith(_BUILDS):
        return None
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    values = (frame.f_locals.get(name) for name in names)
    return next((v for v in values if isinstance(v, Mapping) and v), None)


def _config_in(frame: FrameType) -> Optional[Config]:
    values = frame.f_locals.values()
    return next((v for v in values if isinstance(v, Config) and 'model' in v), None)


def _key_of(part: Mapping, cfg: Any) -> str:
    """Return the key of the most similar part of a config; building may have changed the part."""
    best, alike = '', 0.0
    for key, node in _parts(cfg, ''):
        if node.get('type') != part.get('type'):
            continue
        same = sum(name in node and _equal(node[name], value) for name, value in part.items())
        score = same / max(len(node), len(part), 1)
        if score > alike:
            best, alike = key, score
    return best


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except (RuntimeError, ValueError):
        return False


def _parts(node: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, Mapping):
        if key:
            yield key, node
        for name, value in node.items():
            yield from _parts(value, f'{key}.{name}'.lstrip('.'))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _parts(value, f'{key}.{index}')


def _registry(name: str) -> Optional[Registry]:
    """Find a root registry by the name in MMEngine's message."""
    module = sys.modules[roots.__name__]
    found = [r for r in vars(module).values() if isinstance(r, Registry)]
    for registry in found:
        if name in {registry.name, *(child.name for child in registry.children.values())}:
            return registry
    return None
