"""Tensors, and dicts, in nested tuples, lists and dicts."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Collect all tensors in nested tuples, lists and dicts."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return []
    return [tensor for value in values for tensor in tensors_in(value)]


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], values: Any) -> Any:
    """Apply a function to every tensor in nested tuples, lists and dicts."""
    if isinstance(values, torch.Tensor):
        return function(values)
    if isinstance(values, dict):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, (tuple, list)):
        return type(values)(map_tensors(function, value) for value in values)
    return values


def map_dicts(change: Callable[[dict], dict], values: Any) -> Any:
    """Apply a function to every dict in nested tuples, lists and dicts, the innermost first."""
    if isinstance(values, dict):
        return change({key: map_dicts(change, value) for key, value in values.items()})
    if isinstance(values, (list, tuple)):
        return type(values)(map_dicts(change, value) for value in values)
    return values


def type_name(cfg: Mapping) -> str:
    """Return the name of a config's ``type``, a class or its name, without scope and module."""
    kind = cfg.get('type')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


detached = partial(map_tensors, torch.Tensor.detach)
contiguous = partial(map_tensors, torch.Tensor.contiguous)
