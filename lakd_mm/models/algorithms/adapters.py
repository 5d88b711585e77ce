"""Connectors of a pair of places: between widths, sizes, and from tokens to maps."""

from collections.abc import Mapping
from typing import Any, Optional

import torch
from mmengine.logging import print_log

from ...errors import ConfigError
from ..nested import type_name
from .part_configs import fill


def connectors_of(
    transfer: Mapping, s_place: dict, t_place: dict, key: str, together: bool
) -> tuple[Optional[dict], Optional[dict]]:
    """Complete the configs of the student's and the teacher's connector at one pair of places.

    Tokens become maps. Where a convolution that is made here cannot make sizes agree, the larger
    map is pooled to the smaller size. A loss that takes all places ``together`` adapts widths and
    sizes itself.
    """
    given = transfer.get('connector', None if together else 'auto')
    of_teacher = transfer.get('teacher_connector')
    shapes = [_map_shape(place) for place in (s_place, t_place)]
    sizes = [tuple(shape[2:]) for shape in shapes]
    pooled: list[Optional[tuple]] = [None, None]
    maps = all(len(shape) == 4 for shape in shapes)
    tokens = any(_is_sequence(place) for place in (s_place, t_place))
    adapts = given == 'auto' or (
        isinstance(given, Mapping)
        and type_name(given) == 'ConvModuleConnector'
        and 'kernel_size' not in given
    )
    if maps and adapts and of_teacher is None and 'connector' not in s_place:
        convolved = not tokens and _fits_convolution(*sizes)
        if sizes[0] != sizes[1] and not convolved:
            smaller = tuple(min(sides) for sides in zip(*sizes))
            pooled = [None if size == smaller else smaller for size in sizes]
            shapes = [torch.Size((*shape[:2], *smaller)) for shape in shapes]
            print_log(
                f"{key}: the larger of the student's {sizes[0]} maps and the teacher's {sizes[1]} "
                f'is pooled to {smaller}.',
                logger='current',
            )
    found = []
    for side, place in enumerate((s_place, t_place)):
        option = 'teacher_connector' if side else 'connector'
        config = of_teacher if side else given
        connector = _connector(config, place, shapes[side], shapes[1], f'{key}.{option}')
        if 'connector' not in place and (_is_sequence(place) or pooled[side]):
            connector = place['layout'].connector(size=pooled[side], connector=connector)
        found.append(connector)
    return found[0], found[1]


def channels_of(place: dict) -> int:
    """Return the number of channels of a place's map, or of its vectors."""
    return _map_shape(place)[1]


def channels_behind(connector: Optional[dict], place: dict, target: dict) -> int:
    """Return the number of channels that a connector gives of a place's record."""
    to_map = connector is not None and type_name(connector) == 'MapConnector'
    adapted = connector.get('connector') if to_map else connector
    return channels_of(place if adapted is None else target)


def _is_sequence(place: dict) -> bool:
    return place['layout'] is not None and place['layout'].kind != 'map'


def _map_shape(place: dict) -> torch.Size:
    """Return the shape of a record once it is a map."""
    if not _is_sequence(place):
        return place['shape']
    layout = place['layout']
    return torch.Size((place['shape'][0], layout.channels, *layout.size))


def _fits_convolution(size: tuple, target: tuple) -> bool:
    try:
        _resize(size, target, '')
    except ConfigError:
        return False
    return True


def _connector(
    connector: Any, place: dict, shape: torch.Size, target: torch.Size, key: str
) -> Optional[dict]:
    """Complete a connector's config, or return None if there is none."""
    if 'connector' in place:
        return place['connector']
    if connector == 'auto':
        if len(shape) != 4 or shape[1:] == target[1:]:
            return None
        print_log(
            f"{key}: a convolution and BatchNorm turn the student's {tuple(shape[1:])} feature "
            f"into one of the teacher's shape {tuple(target[1:])}.",
            logger='current',
        )
        connector = dict(type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN'), act_cfg=None)
    if connector is None:
        return None
    found = dict(in_channel=shape[1], in_channels=shape[1], dim_in=shape[1], norm=place.get('norm'))
    found.update(out_channel=target[1], out_channels=target[1])
    found.update(student_channels=shape[1], teacher_channels=target[1])
    if len(shape) == 4:
        found.update(_resize(shape[2:], target[2:], key))
    return fill(connector, key, **found)


def _resize(size: torch.Size, target: torch.Size, key: str) -> dict:
    """Return the arguments of FitNet's regressor, a convolution between two sizes of map."""
    if size == target:
        return {}
    if all(s in (2 * t, 2 * t - 1) for s, t in zip(size, target)):
        return dict(kernel_size=3, stride=2, padding=1)
    if all(2 * s == t for s, t in zip(size, target)):
        return dict(kernel_size=4, stride=2, padding=1, conv_cfg=dict(type='deconv'))
    raise ConfigError(
        f"{key}: no convolution turns the student's {tuple(size)} maps into the "
        f"teacher's {tuple(target)}; pair other taps, or give a connector that does"
    )
