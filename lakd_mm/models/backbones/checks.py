"""Checks of arguments that several backbones share."""

from collections.abc import Sequence
from typing import Union

import torch.nn as nn

from ...errors import ConfigError


def check_out_indices(
    backbone: nn.Module, out_indices: Sequence[int], num_stages: int
) -> tuple[int, ...]:
    """Raise ConfigError unless every index names a stage, counted from 0."""
    if isinstance(out_indices, (int, str)) or not set(out_indices) <= set(range(num_stages)):
        raise ConfigError(
            f'{type(backbone).__name__}: out_indices={out_indices!r} must be a list of stages, '
            f'counted from 0 to {num_stages - 1}'
        )
    return tuple(out_indices)


def refuse_style(backbone: Union[nn.Module, type], options: dict):
    """Raise a ConfigError for a ``style`` where no block is a bottleneck."""
    if options.get('style', 'pytorch') != 'pytorch':
        name = (backbone if isinstance(backbone, type) else type(backbone)).__name__
        raise ConfigError(
            f'{name}: style={options["style"]!r} would be ignored, since only bottlenecks use it; '
            f'leave it out'
        )
