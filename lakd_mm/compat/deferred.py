"""Modules that upstream imports at once and hardly ever uses, loaded when they are used."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class DeferredName:
    """A function, class or object of a module that is imported at the first call or look-up."""

    def __init__(self, module: str, name: str):
        self._module = module
        self._name = name

    def _load(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args, **kwargs) -> Any:
        """Call the real one."""
        return self._load()(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith('__'):
            # `copy` and `inspect` ask any object for these.
            raise AttributeError(f'{self._name} of {self._module} is not loaded yet')
        return getattr(self._load(), attribute)


class DeferredModule(ModuleType):
    """Stands in for a module; each of its public names is a :class:`DeferredName`."""

    def __getattr__(self, name: str) -> DeferredName:
        if name.startswith('_'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return DeferredName(self.__name__, name)


@contextmanager
def deferred(*modules: str) -> Iterator[None]:
    """Let what is imported inside take names out of ``modules`` without loading these.

    Only for code that calls these names or looks attributes up on them: they are no classes to
    derive from. A module that is loaded already is left as it is.

    Args:
        *modules (str): Names of modules, such as 'scipy.stats'.
    """
    stand_ins = {name: DeferredModule(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
