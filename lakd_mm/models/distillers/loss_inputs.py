"""Inputs of losses: records, labels and their precision."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Optional

import torch
import torch.nn as nn

from ...errors import ConfigError
from ..nested import map_tensors, tensors_in


def in_full_precision(loss: nn.Module, inputs: dict) -> torch.Tensor:
    """Compute a loss in float32 under autocast, whose 16-bit records are too coarse for sums."""
    device = next((t.device.type for t in tensors_in(inputs)), 'cpu')
    if not torch.is_autocast_enabled(device):
        return loss(**inputs)
    if not getattr(loss, 'takes_half', False):
        inputs = map_tensors(_widen, inputs)
    with torch.autocast(device, enabled=False):
        return loss(**inputs)


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def least_count(index: int) -> int:
    """Return the least number of records among which this index exists."""
    return index + 1 if index >= 0 else -index


def takes(module: nn.Module, argument: str) -> bool:
    """Tell whether the forward of a module has an argument."""
    return argument in _arguments_of(getattr(module.forward, '__func__', module.forward))


@cache
def _arguments_of(forward: Callable) -> Collection[str]:
    return inspect.signature(forward).parameters


def listed(records: Any) -> list:
    """Return the record or the records of an argument as a list."""
    return records if isinstance(records, (list, tuple)) else [records]


def each_record(mapping: Mapping) -> Iterator[dict]:
    """Yield an empty mapping, then one of a single argument for each of its records."""
    yield {}
    for argument, records in mapping.items():
        yield from ({argument: record} for record in listed(records))


def labels_of(data_samples: Optional[list], like: torch.Tensor) -> torch.Tensor:
    """Collect the labels of a batch, shape (N,), on the device of a tensor."""
    if not data_samples or any('gt_label' not in sample for sample in data_samples):
        raise ConfigError('the loss needs labels, and the batch has none; give images with labels')
    labels = torch.cat([sample.gt_label for sample in data_samples]).to(like.device)
    if len(labels) != len(like):
        raise ConfigError(
            f'the loss needs one label an image, and there are {len(labels)} for {len(like)} images'
        )
    return labels


def is_ours(module: nn.Module) -> bool:
    """Tell whether a module is ours and takes channels-last tensors; MMRazor's may use ``view``."""
    return type(module).__module__.startswith('lakd_mm.')
