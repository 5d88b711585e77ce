"""What the person at the keyboard is told."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from pickle import UnpicklingError


class ConfigError(ValueError):
    """A mistake in a config or on the command line: what, where, and what to do."""


# Checkpoints that cannot be loaded; each is also what Python or PyTorch would raise.


class MissingCheckpointError(ConfigError, FileNotFoundError):
    """A checkpoint that does not exist."""


class UnreachableCheckpointError(ConfigError, OSError):
    """A checkpoint that cannot be downloaded."""


class RefusedCheckpointError(ConfigError, UnpicklingError):
    """A checkpoint that holds more than data."""


class DamagedCheckpointError(ConfigError, RuntimeError):
    """A file that is truncated, or no checkpoint at all."""


def check_positive(owner: str, **values):
    """Raise a ConfigError, naming ``owner``, for an argument that is not a positive number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise ConfigError(f'{owner}: {name}={value!r} is not a positive number')


def refuse_ignored(owner: Callable, why: str, **values):
    """Raise a ConfigError for arguments that change nothing beside the others.

    Args:
        owner (Callable): The class or function whose arguments they are.
        why (str): Beside what they change nothing, and what to do.
        **values: The arguments. One that has its default value is no mistake.
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


def near_names(name: str, names: Iterable[str]) -> str:
    """A half sentence that names what ``name`` may have meant."""
    names = [known for known in names if known]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f'did you mean {" or ".join(map(repr, near))}?' if near else f'there are: {names[:12]} …'
