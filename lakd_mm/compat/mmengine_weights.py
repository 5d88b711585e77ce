"""Repair of MMEngine's loading of weights, which trains on where none has arrived.

All releases print a warning for a file of another network. Here ``load_from``, ``--resume`` and
``init_cfg`` end with an error that counts what fits.
"""

import contextvars
import functools
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional

import mmengine.runner.checkpoint
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import Runner
from torch import nn

from ..errors import ConfigError, near_names


class Source(NamedTuple):
    """Where weights come from: the key of a config with its file, and whether all must fit."""

    name: str
    exact: bool
    allows: str


_source: contextvars.ContextVar[Optional[Source]] = contextvars.ContextVar('source', default=None)


@contextmanager
def source(name: str, exact: bool, allows: str):
    """Have the weights that are loaded inside checked."""
    token = _source.set(Source(name, exact, allows))
    try:
        yield
    finally:
        _source.reset(token)


def repair_load_state_dict(load: Callable) -> Callable:
    """Raise an error where weights do not fit, if a config has asked for them."""

    @functools.wraps(load)
    def load_checked(
        module: nn.Module, state_dict: Mapping[str, Any], strict: bool = False, logger: Any = None
    ):
        wanted = _source.get()
        if wanted is None:
            return load(module, state_dict, strict, logger)
        student = student_of(module, state_dict)
        if student is not None:
            print_log(
                f'{wanted.name} is a plain network: it goes into the student (architecture).',
                logger='current',
            )
            module = student
        if strict:
            return load(module, state_dict, strict, logger)
        load_counted(load, module, state_dict, wanted)

    return load_checked


def student_of(module: nn.Module, state: Mapping[str, Any]) -> Optional[nn.Module]:
    """Return an algorithm's student if ``state`` is a plain network's, else None."""
    parts = module._modules
    if 'architecture' not in parts or 'distiller' not in parts:
        return None
    own = any(key.partition('.')[0] in parts for key in state)
    return None if own else parts['architecture']


def load_counted(load: Callable, module: nn.Module, state: Mapping[str, Any], wanted: Source):
    """Load weights, count those that fit and judge the rest.

    Raises:
        ConfigError: If none fits; if fewer than half fit; or, where all must, if one does not. A
            head with another number of classes is told in a line.
    """
    missing: list[str] = []
    unexpected: list[str] = []

    def note(_, keys):
        missing[:], unexpected[:] = keys.missing_keys, keys.unexpected_keys

    shapes = {key: tuple(v.shape) for key, v in state.items() if isinstance(v, torch.Tensor)}
    handle = module.register_load_state_dict_post_hook(note)
    before = [(name, value, value._version) for name, value in tensors_of(module)]
    try:
        load(module, state, False, 'silent')
    finally:
        handle.remove()
    if getattr(getattr(module, 'teacher', None), 'is_init', False):
        # It has its weights from a file of its own.
        missing = [key for key in missing if not key.startswith('teacher.')]
    missing = [key for key in missing if 'num_batches_tracked' not in key]
    same = {name for name, value, version in before if value._version != version}
    # What was neither missing nor copied has another shape, unless the file has no teacher.
    ignored = () if any(key.startswith('teacher.') for key in state) else ('teacher.',)
    other = [name for name, *_ in before if name not in {*same, *missing}]
    other = [name for name in other if not name.startswith(ignored)]
    total = len(same) + len(missing) + len(other)
    heads = [key for key in other if 'head' in key]
    if not (missing or unexpected or other):
        return
    text = (
        f'{wanted.name}: {len(same)} of {total} keys of the {type(module).__name__} fit, '
        f'{len(unexpected)} of the file are left over.'
    )
    if missing:
        near = near_names(missing[0], unexpected or list(shapes)) if shapes else ''
        text += f' Not in the file: {_few(missing)} (for the first, {near})'
    if unexpected:
        text += f' Only in the file: {_few(unexpected)}.'
    if other:
        text += f' Of another shape: {_few(other)}.'
    bad = bool(missing or unexpected or len(heads) < len(other)) if wanted.exact else False
    if bad or 2 * len(same) < total:
        raise ConfigError(f'{text} Name the file of this network{wanted.allows}.')
    if is_main_process():
        print_log(text, logger='current')


def tensors_of(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """List the parameters and buffers that a checkpoint has to hold, by name."""
    kept = []
    for prefix, part in module.named_modules():
        prefix = f'{prefix}.' if prefix else ''
        left_out = {'num_batches_tracked', *part._non_persistent_buffers_set}
        for name, value in {**part._parameters, **part._buffers}.items():
            if value is not None and name not in left_out:
                kept.append((prefix + name, value))
    return kept


def _few(names: list[str]) -> str:
    return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')


def repair_load(load: Callable) -> Callable:
    """Have ``load_from`` and ``resume`` of a runner fit in every key."""

    @functools.wraps(load)
    def load_whole(self: Runner, filename: str, *args, **kwargs) -> dict:
        if not self.cfg.get('load_strict', True):
            return load(self, filename, *args, **kwargs)
        allows = ', or set load_strict=False in the config to take what fits'
        key = 'resume' if self._resume else 'load_from'
        with source(f'{key}={filename!r}', True, allows):
            return load(self, filename, *args, **kwargs)

    return load_whole


def repair_pretrained(call: Callable) -> Callable:
    """Have a network's ``init_cfg`` fit, its head and a few other keys aside."""

    @functools.wraps(call)
    def init_checked(self: PretrainedInit, module: nn.Module):
        if not self.strict:
            return call(self, module)
        prefix = f' (prefix {self.prefix!r})' if self.prefix else ''
        allows = ', or set strict=False in init_cfg to take what fits'
        with source(f'init_cfg.checkpoint={self.checkpoint!r}{prefix}', False, allows):
            return call(self, module)

    return init_checked


def repair_pretrained_init(init: Callable) -> Callable:
    """Give ``init_cfg=dict(type='Pretrained', …)`` the key ``strict``."""

    @functools.wraps(init)
    def init_strict(self: PretrainedInit, *args, strict: bool = True, **kwargs):
        init(self, *args, **kwargs)
        self.strict = strict

    return init_strict


def apply():
    """Apply the repair once."""
    if hasattr(PretrainedInit.__call__, '__wrapped__'):
        return
    checkpoint = mmengine.runner.checkpoint
    checkpoint.load_state_dict = repair_load_state_dict(checkpoint.load_state_dict)
    PretrainedInit.__init__ = repair_pretrained_init(PretrainedInit.__init__)
    PretrainedInit.__call__ = repair_pretrained(PretrainedInit.__call__)
    Runner.load_checkpoint = repair_load(Runner.load_checkpoint)
