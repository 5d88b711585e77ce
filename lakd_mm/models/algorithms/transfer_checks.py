"""What is wrong with a transfer by itself, or in a student that is cut."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch.nn as nn

from ...errors import ConfigError, check_positive, near_names
from ..places.pairing import by_side

_KEYS = ('loss', 'at', 'position', 'connector', 'teacher_connector', 'growth', 'mask', 'warmup')
_POSITIONS = ('post_relu', 'pre_relu')


def refuse_records_past_cuts(student: nn.Module, transfers: Mapping[str, Any]):
    """Raise if a feature would be recorded in the module after the one that makes it."""
    signed = any(getattr(module, 'pre_activation', False) for module in student.modules())
    for name, transfer in transfers.items():
        position = transfer.get('position') if isinstance(transfer, Mapping) else None
        if signed and by_side(position).get('student') == 'pre_relu':
            raise ConfigError(
                f"transfers.{name}.position='pre_relu': the ReLU behind a pre-activation block "
                f"belongs to the next module, past the cut; use 'post_relu', its signed sum"
            )


def check_transfer(key: str, name: str, transfer: Any):
    """Raise a ConfigError, naming its key, unless a transfer has the form that it should."""
    if not isinstance(transfer, Mapping):
        raise ConfigError(f'{key}={transfer!r}: give a dict with loss and at')
    for part in transfer:
        if part not in _KEYS:
            raise ConfigError(f'{key}: no key {part!r}; {near_names(part, _KEYS)}')
    for part in ('loss', 'at'):
        if part not in transfer:
            raise ConfigError(f'{key}: {part!r} is missing')
    if 'loss' not in name or '.' in name:
        raise ConfigError(
            f'{key}: give a name with "loss" in it, or it would be logged but not be trained with, '
            f'and without a dot'
        )
    position = transfer.get('position', 'post_relu')
    sides = by_side(position)
    if set(sides) != {'student', 'teacher'} or not set(sides.values()) <= set(_POSITIONS):
        raise ConfigError(f"{key}.position={position!r} is neither 'post_relu' nor 'pre_relu'")
    warmup = transfer.get('warmup', 0)
    if isinstance(warmup, bool) or not isinstance(warmup, Real) or warmup < 0:
        raise ConfigError(f'{key}.warmup={warmup!r} is not a number of epochs')
    if transfer.get('teacher_connector') == 'auto':
        raise ConfigError(
            f"{key}: teacher_connector='auto' would be ignored, since only the student's record is "
            f'adapted; give a config, or leave it out'
        )
    check_positive(key, growth=transfer.get('growth', 1.0))
    at = transfer['at']
    useless = {'logits': {'position', 'growth'}, 'pooled': {'position', 'growth'}}
    useless['cams'] = {'position', 'growth', 'connector', 'teacher_connector'}
    useless['neck'] = {'position'}
    place = 'neck' if isinstance(at, Mapping) and 'neck' in at else at
    ignored = sorted(useless.get(place, set()) & transfer.keys()) if isinstance(place, str) else []
    if ignored:
        raise ConfigError(f'{key}: {", ".join(ignored)} would be ignored with at={at!r}')
