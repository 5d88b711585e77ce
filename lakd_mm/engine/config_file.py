"""Read config files, with one clear error for whatever is wrong."""

import ast
import os.path as osp
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..errors import ConfigError


def read_config_file(path: Union[str, Path]) -> Config:
    """Read a config from a path or ``package::path``.

    Raises:
        ConfigError: If the file does not exist, is no config, fails when it runs, or has no model.
    """
    path = str(path)
    try:
        found = Config._get_cfg_path(path, '')[0] if '::' in path else path
        cfg = Config.fromfile(found)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f'config {path}: {_of_file(error, path)}{error}') from None
    except ImportError as error:
        cause = error.__cause__ or error
        if str(error).startswith('Failed to import custom modules'):
            raise _not_importable(cause, path) from None
        raise ConfigError(f'config {path}: {_explain(error, path)}') from None
    except Exception as error:
        raise ConfigError(f'config {path}: {_explain(error, path)}') from None
    check_model(cfg, path)
    return cfg


def check_model(cfg: Config, path: str) -> None:
    """Raise a ConfigError for a config without a model."""
    if not isinstance(cfg.get('model'), Mapping) or not cfg.model:
        holds = f'its keys are {", ".join(list(cfg)[:8])}' if len(cfg) else 'it is empty'
        raise ConfigError(
            f'config {path}: it has no model, or an empty one ({holds}); write model = dict(type=…)'
        )


def import_customs(cfg: Config) -> None:
    """Import what ``custom_imports`` names, after ``--cfg-options`` have changed it.

    Raises:
        ConfigError: If a module is not there, or the key is malformed.
    """
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except (ImportError, TypeError) as error:
        raise _not_importable(error, '--cfg-options') from None


def _not_importable(error: BaseException, where: str) -> ConfigError:
    return ConfigError(
        f'config {where}: custom_imports: {error}. Install that package, or put its folder into '
        f'PYTHONPATH'
    )


def _of_file(error: BaseException, path: str) -> str:
    """Name the base config in which an error arose; nothing if it was the config itself."""
    file = getattr(error, 'config_file', path)
    return f'in {file}, ' if osp.basename(file) != osp.basename(path) else ''


def _explain(error: Exception, path: str) -> str:
    """Say where an error arose, and what it is."""
    file = getattr(error, 'config_file', path)
    where = _of_file(error, path)
    if file.endswith('.py') and osp.isfile(file):
        try:
            with open(file, encoding='utf-8') as opened:
                ast.parse(opened.read())
        except SyntaxError as wrong:
            text = (wrong.text or '').strip()
            return f'{where}line {wrong.lineno}: {wrong.msg}{text and f" ({text})"}'
        except ValueError as wrong:
            return f'{where}it is no Python ({wrong})'
    if 'import_modules_from_strings' in str(error):
        return f'{where}custom_imports: write dict(imports=[…], allow_failed_imports=False)'
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    if lines:
        where += f'line {lines[-1]}: '
    return f'{where}{type(error).__name__}: {first_line(error)}'


def first_line(error: Any) -> str:
    """Return an error's message in one line of at most 400 characters."""
    words = error.args[0] if isinstance(error, KeyError) and error.args else error
    return re.sub(r'\s+', ' ', str(words)).strip()[:400] or type(error).__name__
