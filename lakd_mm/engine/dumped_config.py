"""Read and build the config that MMEngine keeps in a checkpoint, without running code from it."""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.registry.registry
from mmengine.config import Config
from mmengine.utils import get_object_from_string, import_modules_from_strings
from mmrazor.registry import MODELS
from torch import nn

from ..errors import ConfigError
from ..models.nested import map_dicts

# What a config in a checkpoint may import from.
_PACKAGES = ('lakd_mm', 'mmengine', 'mmcv', 'mmpretrain', 'mmrazor', 'mmdet', 'mmseg', 'torch')

_KINDS = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_NUMBERS = {'inf': float('inf'), 'nan': float('nan')}


def config_in_checkpoint(checkpoint: dict, name: str) -> Config:
    """Read the config with which a checkpoint was trained.

    ``Config.fromstring`` would run the text as Python, so a checkpoint of unknown origin could run
    any code. A dumped config only assigns values. Of its ``custom_imports`` only OpenMMLab's and
    ours are allowed.

    Raises:
        ConfigError: If there is none, it is not a dumped config, or it would run other code.
    """
    text = checkpoint.get('meta', {}).get('cfg')
    advice = f'checkpoint {name}: the config of its training is {{}}; name it with --config'
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(advice.format('not in it'))
    try:
        values = _assigned_values(text)
        cfg = Config(values, cfg_text=text, filename=name)
        imports = values.get('custom_imports') or {}
        names = imports.get('imports') or []
        names = [names] if isinstance(names, str) else list(names)
        _refuse_code(values, names)
    except (
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ConfigError(advice.format(f'in it but is more than values ({error})')) from None
    if names:
        import_modules_from_strings(names, bool(imports.get('allow_failed_imports')))
    return cfg


@contextmanager
def registered_only() -> Iterator[None]:
    """Let a config build only registered classes, and networks of known packages by full name.

    MMEngine itself imports and calls whatever a ``type`` names, even ``os.system``.

    Raises:
        ConfigError: If the config names another object.
    """
    registry = mmengine.registry.registry

    def get_network(name: str) -> type:
        known = name.partition('.')[0] in _PACKAGES
        found = get_object_from_string(name) if known else None
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ValueError(name)
        return found

    # MMRazor imports at the first look-up, and then needs names that are not registered yet.
    MODELS.import_from_location()
    before, registry.get_object_from_string = registry.get_object_from_string, get_network
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith('Failed to get '):
            raise
        name = str(error).removeprefix('Failed to get ')
        raise ConfigError(
            f'type={name!r}: the config in the checkpoint names what is not registered. If you '
            f'trust it, name the config of its training with --config'
        ) from None
    finally:
        registry.get_object_from_string = before


def _refuse_code(values: dict, imports: list):
    """Raise a ValueError if a value would run code that is neither ours nor OpenMMLab's."""
    for name in imports:
        if name.partition('.')[0] not in _PACKAGES:
            raise ValueError(f'custom_imports of {name!r}')

    def check(part: dict) -> dict:
        path = part.get('cfg_path')
        if path is not None and not re.fullmatch(r'\w+::(?!.*\.\.)\w[\w./-]*', str(path)):
            raise ValueError(f'cfg_path={path!r}')
        if part.get('trust_remote_code'):
            raise ValueError('trust_remote_code')
        return part

    map_dicts(check, values)


def _assigned_values(text: str) -> dict:
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise ValueError(f'line {statement.lineno} is no assignment')
        if not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f'line {statement.lineno} assigns to no name')
        values[statement.targets[0].id] = _value(statement.value)
    return values


def _value(node: ast.expr) -> Any:
    """Evaluate a literal, or a ``dict(…)`` of literals."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            raise ValueError(f'line {node.lineno} calls {ast.unparse(node.func)}')
        named = {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        return dict(*map(_value, node.args), **named)
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values)}
    if type(node) in _KINDS:
        return _KINDS[type(node)](map(_value, node.elts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    return ast.literal_eval(node)
