"""Errors for the person at the keyboard."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from numbers import Real
from pickle import UnpicklingError


class ConfigError(ValueError):
    """A mistake in a config or on the command line: what, where, and what to do."""


class DivergedError(ConfigError, FloatingPointError):
    """A training whose loss is not finite."""


# Errors of checkpoints. Each is also of the type that Python or PyTorch would raise.


class MissingCheckpointError(ConfigError, FileNotFoundError):
    """A checkpoint that does not exist."""


class UnreachableCheckpointError(ConfigError, OSError):
    """A checkpoint that cannot be downloaded."""


class RefusedCheckpointError(ConfigError, UnpicklingError):
    """A checkpoint that holds more than data."""


class DamagedCheckpointError(ConfigError, RuntimeError):
    """A file that is truncated or is not a checkpoint at all."""


def check_positive(owner: str, **values):
    """Raise a ConfigError, naming ``owner``, for an argument that is not a positive number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or value <= 0:
            raise ConfigError(f'{owner}: {name}={value!r} is not a positive number')


def refuse_ignored(owner: Callable, why: str, **values):
    """Raise a ConfigError for arguments that have no effect in combination with the others.

    Args:
        owner (Callable): The class or function that takes the arguments.
        why (str): Why they have no effect, and what to do.
        **values: The arguments. One with its default value is not a mistake.
    """
    parameters = inspect.signature(owner).parameters
    given = []
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        if value != parameters[name].default:
            short = value is None or isinstance(value, (bool, int, float, str))
            given.append(f'{name}={value!r}' if short else name)
    if given:
        raise ConfigError(f'{owner.__name__}: {", ".join(given)} would be ignored {why}')


def check_installed(needs: str, extra: str, modules: Mapping[str, str]):
    """Raise a ConfigError unless optional packages are installed.

    Args:
        needs (str): What needs them, up to their names in the message.
        extra (str): Our extra that installs them.
        modules (Mapping[str, str]): Their names for pip, by the module to import.
    """
    absent = [name for module, name in modules.items() if find_spec(module) is None]
    if absent:
        raise ConfigError(
            f'{needs} {", ".join(absent)}, not installed here: pip install "lakd_mm[{extra}]", or '
            f'pip install {" ".join(absent)}'
        )


def near_names(name: str, names: Iterable[str]) -> str:
    """Suggest in half a sentence what ``name`` may have meant."""
    names = [known for known in names if known]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f'did you mean {" or ".join(map(repr, near))}?' if near else f'there are: {names[:12]} …'


def misfit(error: RuntimeError) -> str:
    """Shorten MMEngine's message on weights that do not fit: of each list of keys, four.

    Raises:
        RuntimeError: The error itself, if it is about anything else.
    """
    if 'do not match exactly' not in str(error):
        raise error
    text = ' '.join(str(error).split())
    lists = r'((?:[\w.]+, ){3}[\w.]+)((?:, [\w.]+)+)'
    return re.sub(lists, lambda keys: f'{keys[1]} and {keys[2].count(",")} more', text)
