"""Repairs that resolve ``mmcls`` to mmpretrain, its name since mmpretrain 1.0.

MMRazor never moved to the new name: its parts that import ``mmcls`` become placeholders that fail
when used (``KDSoftCELoss``, the searchable backbones), and its configs say ``mmcls::``, ``mmcls.X``
and ``_scope_='mmcls'``. Here all of these lead to the same objects as mmpretrain. Nothing happens
if a real mmcls is installed.
"""

import functools
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Optional

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry
from mmpretrain import structures
from mmpretrain.datasets.transforms import formatting
from mmpretrain.registry import TRANSFORMS

OLD, NEW = 'mmcls', 'mmpretrain'


class _AliasFinder:
    """Find and load ``mmcls`` and its sub-modules: each is the mmpretrain module of that name."""

    @classmethod
    def find_spec(
        cls, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if name == OLD or name.startswith(f'{OLD}.'):
            return ModuleSpec(name, cls, is_package=True)
        return None

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        # The import system then returns the module that is registered under this name.
        sys.modules[module.__name__] = importlib.import_module(NEW + module.__name__[len(OLD) :])


def alias_modules() -> None:
    """Make ``import mmcls`` import mmpretrain."""
    # First in line: else `mmcls.models` would be found in mmpretrain's folder, imported twice.
    sys.meta_path.insert(0, _AliasFinder)


def alias_renamed_names() -> None:
    """Restore the two public names that changed with the package."""
    if not hasattr(structures, 'ClsDataSample'):
        structures.ClsDataSample = structures.DataSample
    if not hasattr(formatting, 'PackClsInputs'):
        formatting.PackClsInputs = formatting.PackInputs
        TRANSFORMS.register_module(name='PackClsInputs', module=formatting.PackInputs)


def alias_scope() -> None:
    """Make the scope ``mmcls``, ``type='mmcls.X'`` and ``mmcls::`` bases mean mmpretrain."""
    init_scope, get = DefaultScope.__init__, Registry.get

    @functools.wraps(init_scope)
    def init_renamed_scope(self: DefaultScope, name: str, scope_name: str) -> None:
        init_scope(self, name, NEW if scope_name == OLD else scope_name)

    @functools.wraps(get)
    def get_renamed(self: Registry, key: str) -> Optional[type]:
        if isinstance(key, str) and key.startswith(f'{OLD}.'):
            key = NEW + key[len(OLD) :]
        return get(self, key)

    DefaultScope.__init__ = init_renamed_scope
    Registry.get = get_renamed
    MODULE2PACKAGE[OLD] = NEW


def apply() -> None:
    """Apply every repair of this module, unless mmcls is installed."""
    if importlib.util.find_spec(OLD) is None:
        alias_modules()
        alias_renamed_names()
        alias_scope()
