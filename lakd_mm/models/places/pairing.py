"""Places in networks at which a method compares records."""

import copy
from collections.abc import Mapping, Sequence
from itertools import groupby
from numbers import Integral
from typing import Any

import torch
import torch.nn as nn
from mmrazor.models.task_modules import RecorderManager

from ...errors import ConfigError
from .cams import cam_place
from .layouts import layout_of, only_tensor
from .logits import find_logits
from .probe import images_for, in_eval_mode, run_network, runs_on, sources_of
from .taps import find_classifier, pre_relu_record, resolve_taps
from .trace import paired_stages

PLACES = ('logits', 'pooled', 'cams', 'stages', 'neck')
_SIDES = ('student', 'teacher')


def paired_places(
    student: nn.Module,
    teacher: nn.Module,
    at: Any,
    position: str,
    key: str,
    input_shape: Sequence[int],
) -> tuple[list[dict], list[dict]]:
    """Find where to record the student and the teacher for one transfer.

    ``at`` and ``position`` are as in :func:`write_distiller`, ``key`` is the transfer's, for
    messages; networks run on noise of shape (C, H, W) for stages, and where they have no plain
    classifier. Each place has the config of a ``recorder``, the arguments that select a ``record``
    of it, and further facts (``connector``, ``norm``, ``is_output_of``).

    Raises:
        ConfigError: If a place or a tap is unknown, or the places do not pair up.
    """
    if _is_list(at) and any(part in PLACES for part in at if isinstance(part, str)):
        pairs: tuple[list[dict], list[dict]] = ([], [])
        for named, group in groupby(at, key=lambda part: isinstance(part, str)):
            for part in group if named else [list(group)]:
                found = paired_places(student, teacher, part, position, key, input_shape)
                for places, more in zip(pairs, found):
                    places += more
        return pairs
    if at == 'stages' or _is_list(at):
        at = _stage_ends(student, teacher, at, f'{key}.at', input_shape)
    positions = by_side(position)
    of_student, of_teacher = (
        _places(network, at, positions[side], side, f'{key}.at', input_shape)
        for network, side in zip((student, teacher), _SIDES)
    )
    if len(of_student) != len(of_teacher):
        raise ConfigError(
            f'{key}: the places must pair up, but the student has {len(of_student)} '
            f'({_sources(of_student)}) and the teacher {len(of_teacher)} ({_sources(of_teacher)})'
        )
    return of_student, of_teacher


def by_side(position: Any) -> Mapping:
    """Return the position of the student and of the teacher, given for each or once for both."""
    return position if isinstance(position, Mapping) else dict.fromkeys(_SIDES, position)


def measure(network: nn.Module, places: Sequence[dict], input_shape: Sequence[int]):
    """Add the ``shape`` of each record to its place, by running a copy, with its hooks, on noise.

    Raises:
        ConfigError: If the network does not run on such images, or does not predict with the
            recorded logits.
    """
    recorders = RecorderManager({str(i): place['recorder'] for i, place in enumerate(places)})
    copied = copy.deepcopy(network).eval()
    recorders.initialize(copied)
    with runs_on(network, input_shape), recorders, torch.no_grad():
        images = images_for(copied, input_shape)
        output = run_network(copied, images, sources_of(recorders))
    for i, place in enumerate(places):
        record = recorders.get_recorder(str(i)).get_record_data(**place['record'])
        if 'data_idx' not in place['record']:
            index, tensor = only_tensor(record)
            if index is not None:
                place['record'] = dict(place['record'], data_idx=index)
                record = tensor
        if not isinstance(record, torch.Tensor):
            raise ConfigError(
                f'{place["recorder"]["source"]!r} of {type(network).__name__} gives a '
                f'{type(record).__name__}; a place must give one tensor: name a module that does, '
                f'dict(student=[…], teacher=[…])'
            )
        predicted = isinstance(output, torch.Tensor) and 'is_output_of' in place
        if predicted and (record.shape != output.shape or not torch.allclose(record, output)):
            raise ConfigError(
                f'{place["is_output_of"]}: it does not predict with the output of its last linear '
                f'layer {place["recorder"]["source"]!r}; give a distiller with recorders instead'
            )
        place['shape'] = record.shape
        place['layout'] = layout_of(record.shape, input_shape)


def _places(
    network: nn.Module, at: Any, position: str, side: str, key: str, input_shape: Sequence[int]
) -> list[dict]:
    """Find where to record a network: the recorders, and which of their records to use."""
    output, inputs = 'mmrazor.ModuleOutputs', 'mmrazor.ModuleInputs'
    if at == 'logits':
        source = find_logits(network, input_shape, trained=side == 'student')
        place = dict(recorder=dict(type=output, source=source), record={})
        return [dict(place, is_output_of=f'{key}={at!r} of the {side}')]
    if at == 'pooled':
        source = find_classifier(network)
        return [dict(recorder=dict(type=inputs, source=source), record=dict(data_idx=0))]
    if at == 'cams':
        return [cam_place(network, input_shape, f'{key}={at!r} of the {side}', side == 'student')]
    if at == 'neck' or (isinstance(at, Mapping) and 'neck' in at):
        return [
            dict(recorder=dict(type=output, source='neck'), record=dict(data_idx=level))
            for level in _neck_levels(network, at, f'{key}={at!r}: the {side}', input_shape)
        ]
    if not (isinstance(at, Mapping) and set(at) == {'student', 'teacher'}):
        raise ConfigError(
            f'{key}={at!r} is none of {", ".join(map(repr, PLACES))}, a list of stages, '
            f'dict(neck=[…]) or dict(student=[…], teacher=[…])'
        )
    return [_feature(network, tap, position) for tap in resolve_taps(network, at[side], key)]


def _neck_levels(
    network: nn.Module, at: Any, whose: str, input_shape: Sequence[int]
) -> Sequence[int]:
    """Return which outputs of a neck ``at`` names, 'neck' for all or ``dict(neck=[0, 1])``."""
    neck, outputs = getattr(network, 'neck', None), []
    if isinstance(neck, nn.Module):
        hook = neck.register_forward_hook(lambda module, args, output: outputs.append(output))
        with hook, in_eval_mode(network), runs_on(network, input_shape), torch.no_grad():
            run_network(network, images_for(network, input_shape), ['neck'])
    # Necks of classifiers give vectors.
    maps = outputs[0] if outputs and isinstance(outputs[0], (tuple, list)) else ()
    if not maps or not all(isinstance(map_, torch.Tensor) and map_.ndim == 4 for map_ in maps):
        raise ConfigError(
            f'{whose} ({type(network).__name__}) has no neck of several maps, as an FPN is; give '
            f'dict(student=[…], teacher=[…]) with module names'
        )
    levels = range(len(maps)) if at == 'neck' else at['neck']
    if isinstance(levels, Integral) or not list(levels):
        raise ConfigError(f'{whose}: give a list of levels, counted from 0')
    for level in levels:
        if level not in range(len(maps)):
            raise ConfigError(
                f"{whose}'s neck ({type(neck).__name__}) has no level {level!r}; it has "
                f'{len(maps)}, counted from 0'
            )
    return levels


def _is_list(at: Any) -> bool:
    return isinstance(at, Sequence) and not isinstance(at, str)


def _stage_ends(
    student: nn.Module, teacher: nn.Module, at: Any, key: str, input_shape: Sequence[int]
) -> dict[str, list[str]]:
    """Return the taps of both sides at the ends of paired stages, all or those listed."""
    pairs = paired_stages(student, teacher, input_shape)
    for side, network, stages in zip(('student', 'teacher'), (student, teacher), pairs):
        if not stages and at == 'stages':
            raise ConfigError(
                f'{key}={at!r}: the {side} ({type(network).__name__}) has none: no map that all of '
                f'it passes; give dict(student=[…], teacher=[…]) with module names'
            )
        for stage in () if at == 'stages' else at:
            if not isinstance(stage, Integral) or not 1 <= stage <= len(stages):
                raise ConfigError(
                    f'{key}={at}: there is no stage {stage!r}, the {side} has {len(stages)}, '
                    f'counted from 1'
                )
    chosen = range(1, len(pairs[0]) + 1) if at == 'stages' else at
    of_student, of_teacher = ([s[i - 1][-1].name for i in chosen] for s in pairs)
    return dict(student=of_student, teacher=of_teacher)


def _feature(network: nn.Module, tap: str, position: str) -> dict:
    if position == 'pre_relu':
        recorder, record, norm = pre_relu_record(network, tap)
        return dict(recorder=recorder, record=record, norm=norm)
    return dict(recorder=dict(type='mmrazor.ModuleOutputs', source=tap), record={})


def _sources(places: Sequence[dict]) -> str:
    return ', '.join(place['recorder']['source'] for place in places)
