"""Repair of MMEngine's reading of configs: bases in a circle are read until no file can be opened.

Whatever goes wrong also gets the name of the file in which it does, as ``error.config_file``. What
a config is written as is computed once, where all releases lay it out anew for each checkpoint.
"""

import contextvars
import functools
import os.path as osp
from collections.abc import Callable

import mmengine.config.config as upstream
from mmengine.config import Config

from ..errors import ConfigError

_open: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar('open', default=())


def refuse_circles(read: Callable) -> Callable:
    """Raise an error where a config is among its own bases."""

    @functools.wraps(read)
    def read_once(filename: str, *args, **kwargs):
        path, before = osp.abspath(osp.expanduser(filename)), _open.get()
        if path in before:
            way = ' -> '.join(map(osp.basename, [*before[before.index(path) :], path]))
            raise ConfigError(f'config {path}: _base_ leads in a circle, {way}; cut it')
        token = _open.set((*before, path))
        try:
            return read(filename, *args, **kwargs)
        except Exception as error:
            if not hasattr(error, 'config_file'):
                error.config_file = path
            raise
        finally:
            _open.reset(token)

    return read_once


def name_bases(find: Callable) -> Callable:
    """Raise one clear error for a base that cannot be found."""

    @functools.wraps(find)
    def find_or_name(cfg_path: str, filename: str):
        if not isinstance(cfg_path, str):
            raise ConfigError(f'config {filename}: _base_ has {cfg_path!r}, which is no path')
        try:
            return find(cfg_path, filename)
        except (ConfigError, FileNotFoundError):
            raise
        except Exception as error:
            words = ' '.join(str(error).split())
            where = f'config {filename}: _base_ ' if filename else 'config '
            raise ConfigError(
                f"{where}'{cfg_path}' cannot be found ({words}). Write package::folder/name.py of "
                f'an installed package, or a path'
            ) from None

    return find_or_name


def lay_out_once(format_code: Callable) -> Callable:
    """Keep what yapf makes of the last texts: for a config of ours it takes half a second."""

    @functools.lru_cache(maxsize=16)
    def lay_out(text: str, style: tuple, options: tuple) -> tuple:
        return format_code(text, style_config=dict(style), **dict(options))

    @functools.wraps(format_code)
    def remember(text: str, style_config: dict, **options) -> tuple:
        return lay_out(text, tuple(style_config.items()), tuple(options.items()))

    return remember


def apply() -> None:
    """Apply the repairs once."""
    if not hasattr(Config._file2dict, '__wrapped__'):
        Config._file2dict = staticmethod(refuse_circles(Config._file2dict))
        Config._get_cfg_path = staticmethod(name_bases(Config._get_cfg_path))
        if hasattr(upstream, 'FormatCode'):  # OneDL's imports it where it is used
            upstream.FormatCode = lay_out_once(upstream.FormatCode)
