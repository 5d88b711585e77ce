"""Places in networks at which a method compares records."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from mmrazor.models.task_modules import RecorderManager

from ...errors import ConfigError
from .probe import images_for, run_network, runs_on, sources_of
from .taps import find_classifier, neck_levels, pre_relu_record, resolve_taps, stage_blocks

PLACES = ('logits', 'pooled', 'cams', 'stages', 'neck')
_SIDES = ('student', 'teacher')


def paired_places(
    student: nn.Module, teacher: nn.Module, at: Any, position: str, key: str
) -> tuple[list[dict], list[dict]]:
    """Find where to record the student and the teacher for one transfer.

    ``at`` and ``position`` are as in :func:`write_distiller`, ``key`` is the transfer's, for
    messages. Each place has the config of a ``recorder``, the arguments that select a ``record`` of
    it, and further facts (``connector``, ``norm``, ``is_output_of``).

    Raises:
        ConfigError: If a place or a tap is unknown, or the places do not pair up.
    """
    positions = position if isinstance(position, Mapping) else dict.fromkeys(_SIDES, position)
    of_student, of_teacher = (
        _places(network, at, positions[side], side, f'{key}.at')
        for network, side in zip((student, teacher), _SIDES)
    )
    if len(of_student) != len(of_teacher):
        raise ConfigError(
            f'{key}: the places must pair up, but the student has {len(of_student)} '
            f'({_sources(of_student)}) and the teacher {len(of_teacher)} ({_sources(of_teacher)})'
        )
    return of_student, of_teacher


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
        predicted = isinstance(output, torch.Tensor) and 'is_output_of' in place
        if predicted and (record.shape != output.shape or not torch.allclose(record, output)):
            raise ConfigError(
                f'{place["is_output_of"]}: it does not predict with the output of its last linear '
                f'layer {place["recorder"]["source"]!r}; give a distiller with recorders instead'
            )
        place['shape'] = record.shape


def _places(network: nn.Module, at: Any, position: str, side: str, key: str) -> list[dict]:
    """Find where to record a network: the recorders, and which of their records to use.

    A list with names of places in it is that of each of its parts.
    """
    output, inputs = 'mmrazor.ModuleOutputs', 'mmrazor.ModuleInputs'
    if isinstance(at, Sequence) and not isinstance(at, str) and not _are_stages(at):
        parts = [part if isinstance(part, str) else [part] for part in at]
        return [place for part in parts for place in _places(network, part, position, side, key)]
    if at == 'logits':
        source = getattr(network, 'logits_module', None) or find_classifier(network)
        place = dict(recorder=dict(type=output, source=source), record={})
        return [dict(place, is_output_of=f'{key}={at!r} of the {side}')]
    if at == 'pooled':
        source = find_classifier(network)
        return [dict(recorder=dict(type=inputs, source=source), record=dict(data_idx=0))]
    if at == 'cams':
        connector = dict(type='mmrazor.CAMConnector', classifier=find_classifier(network))
        recorder = dict(type=output, source='backbone')
        return [dict(recorder=recorder, record=dict(data_idx=-1), connector=connector)]
    if at == 'neck' or (isinstance(at, Mapping) and 'neck' in at):
        return [
            dict(recorder=dict(type=output, source='neck'), record=dict(data_idx=level))
            for level in neck_levels(network, at, f'{key}={at!r}: the {side}')
        ]
    taps = resolve_taps(network, _taps(network, at, side, key), key)
    return [_feature(network, tap, position) for tap in taps]


def _are_stages(at: Sequence) -> bool:
    """Tell whether a list has no place with a name in it."""
    return not any(part in PLACES for part in at if isinstance(part, str))


def _taps(network: nn.Module, at: Any, side: str, key: str) -> Sequence:
    """Return the taps of one side."""
    if isinstance(at, Mapping) and set(at) == {'student', 'teacher'}:
        return at[side]
    ends = [stage[-1] for stage in stage_blocks(network)]
    if at == 'stages':
        if not ends:
            raise ConfigError(
                f"{key}='stages': the {side} ({type(network).__name__}) has none (no layer1, "
                f'layer2, … or stages); give dict(student=[…], teacher=[…]) with module names'
            )
        return ends
    if isinstance(at, Sequence) and not isinstance(at, str):
        for stage in at:
            if not isinstance(stage, int) or not 1 <= stage <= len(ends):
                raise ConfigError(
                    f'{key}={at}: there is no stage {stage!r}, the {side} has {len(ends)}, '
                    f'counted from 1'
                )
        return [ends[stage - 1] for stage in at]
    raise ConfigError(
        f'{key}={at!r} is none of {", ".join(map(repr, PLACES))}, a list of stages, '
        f'dict(neck=[…]) or dict(student=[…], teacher=[…])'
    )


def _feature(network: nn.Module, tap: str, position: str) -> dict:
    if position == 'pre_relu':
        recorder, record, norm = pre_relu_record(network, tap)
        return dict(recorder=recorder, record=record, norm=norm)
    return dict(recorder=dict(type='mmrazor.ModuleOutputs', source=tap), record={})


def _sources(places: Sequence[dict]) -> str:
    return ', '.join(place['recorder']['source'] for place in places)
