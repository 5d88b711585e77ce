"""From what a method compares to a distiller's recorders, connectors, losses and mappings."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names
from ..students.followers import images_for
from ..taps import find_classifier, pre_relu_record, resolve_taps, stage_blocks

_KEYS = ('loss', 'at', 'position', 'connector', 'teacher_connector', 'growth')
_PLACES = ('logits', 'pooled', 'cams', 'stages')


def write_distiller(
    student: nn.Module,
    teacher: nn.Module,
    transfers: Mapping[str, dict],
    input_shape: Sequence[int] = (3, 32, 32),
) -> dict:
    """Write the config of a :class:`LocalDistiller` from what is compared where.

    A transfer has a loss and the keys

    - ``at``: 'logits'; 'pooled', the vectors in front of the classifier; 'cams', class activation
      maps; 'stages', the end of each stage; or a dict with ``stages``, a list of them counted from
      1, or with ``student`` and ``teacher``, lists of taps that pair up (:func:`resolve_taps`).
      With several places each has a loss of its own, its number behind the name.
    - ``position`` of features: 'post_relu' (default), a block's output, or 'pre_relu', see
      :func:`pre_relu_record`.
    - ``connector``: what the student's record goes through; 'auto' (default), nothing where the
      shapes of features agree, else a convolution and BatchNorm that make them agree; a config;
      None. ``teacher_connector``: the same for the teacher's, None by default.
    - ``growth``: how many times the loss before it the loss at each place weighs, the last one
      keeping its own weight. Defaults to 1.

    Channels, sizes and norms that constructors of losses and connectors ask for and their config
    leaves out are filled in: ``in_channel(s)``, ``out_channel``, ``dim_in``, ``kernel_size``,
    ``stride``, ``padding``, ``conv_cfg`` and ``norm``.

    Args:
        student (nn.Module): The student, a classifier.
        teacher (nn.Module): The teacher.
        transfers (Mapping[str, dict]): Transfers by the name of their loss in the log.
        input_shape (Sequence[int]): Shape (C, H, W) of an image. Defaults to (3, 32, 32).

    Returns:
        dict: The config.

    Raises:
        ConfigError: If a key, a place or a tap is unknown, taps do not pair up, or no convolution
            makes shapes agree.

    Examples:
        >>> transfers = dict(
        ...     loss_at=dict(
        ...         loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
        ...         at='stages', connector=None))
    """
    written = dict(
        type='mmrazor.LocalDistiller',
        student_recorders={},
        teacher_recorders={},
        connectors={},
        distill_losses={},
        loss_forward_mappings={},
    )
    for name, transfer in transfers.items():
        _check_keys(name, transfer)
        _write_transfer(written, name, transfer, student, teacher, input_shape)
    return written


def _check_keys(name: str, transfer: dict):
    for key in transfer:
        if key not in _KEYS:
            raise ConfigError(f'transfers.{name}: no key {key!r}; {near_names(key, _KEYS)}')
    for key in ('loss', 'at'):
        if key not in transfer:
            raise ConfigError(f'transfers.{name}: {key!r} is missing')
    if 'loss' not in name:
        raise ConfigError(
            f'transfers.{name}: a name without "loss" would be logged but not be trained with'
        )
    position = transfer.get('position', 'post_relu')
    if position not in ('post_relu', 'pre_relu'):
        raise ConfigError(
            f"transfers.{name}.position={position!r} is neither 'post_relu' nor 'pre_relu'"
        )


def _write_transfer(
    written: dict,
    name: str,
    transfer: dict,
    student: nn.Module,
    teacher: nn.Module,
    input_shape: Sequence[int],
):
    """Add one transfer's parts to the distiller's config."""
    at = transfer['at']
    sides = [
        _places(network, at, transfer.get('position', 'post_relu'), side, f'transfers.{name}.at')
        for network, side in ((student, 'student'), (teacher, 'teacher'))
    ]
    if len(sides[0]) != len(sides[1]):
        raise ConfigError(
            f'transfers.{name}: the places must pair up, but the student has {len(sides[0])} '
            f'({_sources(sides[0])}) and the teacher {len(sides[1])} ({_sources(sides[1])})'
        )
    shapes = [
        _shapes(network, side, input_shape) for network, side in zip((student, teacher), sides)
    ]
    short = name.replace('loss_', '')
    for i, (s_place, t_place, s_shape, t_shape) in enumerate(zip(*sides, *shapes)):
        part = short if len(sides[0]) == 1 else f'{short}{i + 1}'
        mapping = {}
        arguments = _loss_arguments(transfer['loss'])
        for argument, place, shape, other, from_student, connector in (
            (arguments[0], s_place, s_shape, t_shape, True, transfer.get('connector', 'auto')),
            (arguments[1], t_place, t_shape, s_shape, False, transfer.get('teacher_connector')),
        ):
            side = 'student' if from_student else 'teacher'
            written[f'{side}_recorders'][part] = place['recorder']
            record = dict(recorder=part, from_student=from_student, **place['record'])
            connector = _connector(connector, place, shape, other if from_student else shape, name)
            if connector is not None:
                written['connectors'][f'{side}_{part}'] = connector
                record['connector'] = f'{side}_{part}'
            mapping[argument] = record
        loss = fill(transfer['loss'], in_channels=t_shape[1])
        growth = transfer.get('growth', 1.0)
        if growth != 1.0:
            weight = loss.get('loss_weight', 1.0) * growth ** (i + 1 - len(sides[0]))
            loss = dict(loss, loss_weight=weight)
        written['distill_losses'][name if part == short else f'{name}{i + 1}'] = loss
        written['loss_forward_mappings'][name if part == short else f'{name}{i + 1}'] = mapping


def _places(network: nn.Module, at: Any, position: str, side: str, key: str) -> list[dict]:
    """Where a network is recorded: config of each recorder, and which of its records counts."""
    output, inputs = 'mmrazor.ModuleOutputs', 'mmrazor.ModuleInputs'
    if at == 'logits':
        source = find_classifier(network)
        return [dict(recorder=dict(type=output, source=source), record={})]
    if at == 'pooled':
        source = find_classifier(network)
        return [dict(recorder=dict(type=inputs, source=source), record=dict(data_idx=0))]
    if at == 'cams':
        return [
            dict(
                recorder=dict(type=output, source='backbone'),
                record=dict(data_idx=-1),
                connector=dict(type='mmrazor.CAMConnector', classifier=find_classifier(network)),
            )
        ]
    return [
        _feature(network, tap, position)
        for tap in resolve_taps(network, _taps(network, at, side, key), key)
    ]


def _taps(network: nn.Module, at: Any, side: str, key: str) -> Sequence:
    """The taps of one side."""
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
    if isinstance(at, Mapping) and set(at) == {'stages'}:
        for stage in at['stages']:
            if not isinstance(stage, int) or not 1 <= stage <= len(ends):
                raise ConfigError(
                    f'{key}.stages={at["stages"]}: there is no stage {stage!r}, the {side} has '
                    f'{len(ends)}, counted from 1'
                )
        return [ends[stage - 1] for stage in at['stages']]
    raise ConfigError(
        f'{key}={at!r} is none of {", ".join(map(repr, _PLACES))}, dict(stages=[…]) or '
        f'dict(student=[…], teacher=[…])'
    )


def _feature(network: nn.Module, tap: str, position: str) -> dict:
    if position == 'pre_relu':
        recorder, record, norm = pre_relu_record(network, tap)
        return dict(recorder=recorder, record=record, norm=norm)
    return dict(recorder=dict(type='mmrazor.ModuleOutputs', source=tap), record={})


def _sources(places: Sequence[dict]) -> str:
    return ', '.join(place['recorder']['source'] for place in places)


def _shapes(
    network: nn.Module, places: Sequence[dict], input_shape: Sequence[int]
) -> list[torch.Size]:
    """Shapes of the records, by one run on noise of a copy, which keeps the hooks."""
    recorders = RecorderManager({str(i): place['recorder'] for i, place in enumerate(places)})
    network = copy.deepcopy(network).eval()
    recorders.initialize(network)
    with recorders, torch.no_grad():
        network(images_for(network, input_shape), mode='tensor')
    return [
        recorders.get_recorder(str(i)).get_record_data(**place['record']).shape
        for i, place in enumerate(places)
    ]


def _connector(
    connector: Any, place: dict, shape: torch.Size, target: torch.Size, name: str
) -> Optional[dict]:
    """A connector's config, complete, or None where there is none."""
    if 'connector' in place:
        return place['connector']
    if connector == 'auto':
        if len(shape) != 4 or shape == target:
            return None
        print_log(
            f"{name}: a convolution and BatchNorm turn the student's {tuple(shape[1:])} feature "
            f"into one of the teacher's shape {tuple(target[1:])}.",
            logger='current',
        )
        connector = dict(type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN'), act_cfg=None)
    if connector is None:
        return None
    found = dict(in_channel=shape[1], in_channels=shape[1], dim_in=shape[1], norm=place.get('norm'))
    found.update(out_channel=target[1], out_channels=target[1])
    if len(shape) == 4:
        found.update(_resize(shape[2:], target[2:], name))
    return fill(connector, **found)


def _resize(size: torch.Size, target: torch.Size, name: str) -> dict:
    """Arguments of the convolution that FitNet's regressor uses between two sizes of map."""
    if size == target:
        return {}
    if all(s in (2 * t, 2 * t - 1) for s, t in zip(size, target)):
        return dict(kernel_size=3, stride=2, padding=1)
    if all(2 * s == t for s, t in zip(size, target)):
        return dict(kernel_size=4, stride=2, padding=1, conv_cfg=dict(type='deconv'))
    raise ConfigError(
        f"transfers.{name}: no convolution turns the student's {tuple(size)} maps into the "
        f"teacher's {tuple(target)}; pair other taps, or give a connector that does"
    )


def fill(cfg: dict, **found) -> dict:
    """Give a config those arguments of its class that it leaves out and that are known.

    Args:
        cfg (dict): Config of a loss or connector.
        **found: Known values by argument name; None is unknown.

    Returns:
        dict: The completed config.
    """
    cls = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if cls is None:
        raise ConfigError(f'type={cfg["type"]!r} is not registered; check its spelling and prefix')
    wanted = inspect.signature(cls.__init__).parameters
    missing = {k: v for k, v in found.items() if k in wanted and k not in cfg and v is not None}
    return dict(cfg, **missing)


def _loss_arguments(cfg: dict) -> list[str]:
    """Names of a loss's first two arguments: the student's and the teacher's."""
    cls = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if cls is None:
        raise ConfigError(f'loss type={cfg["type"]!r} is not registered; check spelling and prefix')
    return list(inspect.signature(cls.forward).parameters)[1:3]
