"""The config that MMEngine keeps inside a checkpoint, read without running it."""

import ast
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..errors import ConfigError

_KINDS = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_NUMBERS = {'inf': float('inf'), 'nan': float('nan')}


def config_in_checkpoint(checkpoint: dict, name: str) -> Config:
    """Read the config with which a checkpoint was trained.

    ``Config.fromstring`` would run the text as Python, so a checkpoint of unknown origin could run
    any code. A dumped config only assigns values. Its ``custom_imports`` are imported.

    Raises:
        ConfigError: If there is none, or it is not a dumped config.
    """
    text = checkpoint.get('meta', {}).get('cfg')
    advice = f'checkpoint {name}: the config of its training is {{}}; name it with --config'
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(advice.format('not in it'))
    try:
        values = _assigned_values(text)
        cfg = Config(values, cfg_text=text, filename=name)
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(advice.format(f'in it but is more than values ({error})')) from None
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


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
