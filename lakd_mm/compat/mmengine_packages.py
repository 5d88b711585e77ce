"""Repairs of MMEngine's look-up of packages, which resolves ``_base_ = 'package::config'``."""

import difflib
import functools
import importlib.util
import os.path as osp
from importlib import metadata
from pathlib import Path
from typing import Callable, Optional, Union

import mmengine.config.config
import mmengine.hub.hub
import mmengine.utils
import mmengine.utils.package_utils
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from ..errors import ConfigError
from .dense import check_dense_package

OURS = 'lakd_mm'
OUR_FOLDER = Path(__file__).resolve().parents[1]
# Modules that hold the look-up functions; two of them import these by name.
HOLDERS = (
    mmengine.utils.package_utils,
    mmengine.utils,
    mmengine.config.config,
    mmengine.hub.hub,
)


def is_installed(package: str) -> bool:
    """Return whether ``package``, the name of a distribution or of a module, is installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the folder of ``package``, the name of a distribution or of a module.

    Raises:
        importlib.metadata.PackageNotFoundError: If it is not installed.
        RuntimeError: If it is a namespace package, which has no folder of its own.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        # The name of the distribution differs from its module, as for mmcv-full.
        modules = (metadata.distribution(package).read_text('top_level.txt') or '').split()
        spec = importlib.util.find_spec(modules[0]) if modules else None
    if spec is None or spec.origin is None:
        raise RuntimeError(f'{package} has no folder of its own: it is a namespace package')
    return osp.dirname(spec.origin)


def do_without_pkg_resources() -> None:
    """Look packages up without ``pkg_resources`` if it is absent (since setuptools 82)."""

    def prefer(upstream: Callable, substitute: Callable) -> Callable:
        @functools.wraps(upstream)
        def look_up(package: str) -> Union[bool, str]:
            try:
                return upstream(package)
            except ImportError as error:
                if error.name != 'pkg_resources':
                    raise
                return substitute(package)

        return look_up

    for substitute in (is_installed, get_installed_path):
        name = substitute.__name__
        look_up = prefer(getattr(mmengine.utils, name), substitute)
        for holder in HOLDERS:
            if hasattr(holder, name):
                setattr(holder, name, look_up)


def find_our_config(path: str) -> str:
    """Return the file of ``lakd_mm::path``.

    Configs are in ``lakd_mm/.mim/`` if installed, and beside the package in a bare checkout.

    Raises:
        FileNotFoundError: If there is no such config. The message suggests similar names.
    """
    installed, checkout = OUR_FOLDER / '.mim' / 'configs', OUR_FOLDER.parent / 'configs'
    folder = installed if installed.is_dir() else checkout
    if (folder / path).is_file():
        return str(folder / path)
    known = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob('*.py'))]
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.5)
    raise FileNotFoundError(
        f"_base_ '{OURS}::{path}': there is no such config in {folder}."
        + (f' Did you mean {" or ".join(near)}?' if near else '')
    )


def find_config(package: str, path: str) -> Optional[tuple[str, str]]:
    """Return the file of ``package::path`` and the scope; None where MMEngine has to look further.

    MMEngine reads the metafile of each model of the package before it looks for the file.
    """
    project = MODULE2PACKAGE.get(package)
    if not path or project is None or not mmengine.utils.is_installed(project):
        return None
    file = osp.join(mmengine.utils.get_installed_path(project), '.mim', 'configs', path)
    return (file, package) if osp.isfile(file) else None


def resolve_our_configs() -> None:
    """Make ``_base_ = 'lakd_mm::lakd/...'`` known to MMEngine, which keeps a fixed list."""
    MODULE2PACKAGE.setdefault(OURS, OURS)
    get_cfg_path = Config._get_cfg_path

    @functools.wraps(get_cfg_path)
    def get_our_cfg_path(cfg_path: str, filename: str) -> tuple[str, Optional[str]]:
        package, separator, path = cfg_path.partition('::')
        if separator and package == OURS:
            # No scope: we register into MMRazor's registries, and none is named lakd_mm.
            return find_our_config(path), None
        check_dense_package(package, f'config {filename}: {cfg_path}')
        return find_config(package, path) or get_cfg_path(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_our_cfg_path)


def name_cfg_path(get_config: Callable) -> Callable:
    """Raise one clear error for a ``cfg_path`` that names no config of a package."""

    @functools.wraps(get_config)
    def get_or_name(cfg_path: str, pretrained: bool = False) -> Config:
        try:
            return get_config(cfg_path, pretrained)
        except (ValueError, AssertionError, FileNotFoundError) as error:
            package, _, path = str(cfg_path).partition('::')
            named = package in MODULE2PACKAGE and package != OURS and '/' in path
            why = ' '.join(str(error).split()) if named else 'it takes package::folder/name.py'
            raise ConfigError(
                f'cfg_path={cfg_path!r}: {why}. Name a config of an OpenMMLab package, such as '
                f'mmpretrain::resnet/resnet18_8xb16_cifar10.py, or write the network itself in '
                f'place of cfg_path, dict(type=…)'
            ) from None

    return get_or_name


def apply() -> None:
    """Apply every repair of this module."""
    if not hasattr(mmengine.hub.get_config, '__wrapped__'):
        get_config = name_cfg_path(mmengine.hub.get_config)
        mmengine.hub.get_config = mmengine.hub.hub.get_config = get_config
    do_without_pkg_resources()
    resolve_our_configs()
