"""Conversion of a method's transfers into recorders, connectors, losses and mappings."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn as nn

from ...errors import ConfigError, check_positive, near_names
from ..places.pairing import measure, paired_places
from .adapters import channels_of, class_of, connectors_of, fill

_KEYS = ('loss', 'at', 'position', 'connector', 'teacher_connector', 'growth', 'mask')


def write_distiller(
    student: nn.Module,
    teacher: nn.Module,
    transfers: Mapping[str, dict],
    input_shape: Sequence[int] = (3, 32, 32),
) -> dict:
    """Write the config of a :class:`LocalDistiller` from transfers: what is compared where.

    A transfer has a loss and the keys

    - ``at``: 'logits'; 'pooled', the vectors before the classifier; 'cams', class activation maps;
      'stages', the end of each stage; a list of stages counted from 1; 'neck', every level of a
      detector's neck; ``dict(neck=[0, 1])``, those levels; or a dict with ``student`` and
      ``teacher``, lists of taps that pair up (:func:`resolve_taps`). With several places each one
      has its own loss, and its number follows the name.
    - ``position`` of features: 'post_relu' (default), a block's output, or 'pre_relu', see
      :func:`pre_relu_record`.
    - ``connector`` of the student's record: 'auto' (default), which makes a convolution and
      BatchNorm if the shapes of features differ; a config; or None.
    - ``teacher_connector`` of the teacher's record: a config, or None (default).
    - ``growth``: ratio of the weights of the losses at a place and at the place before it; the last
      one has its own weight. Defaults to 1.
    - ``mask``: a :class:`SaliencyMask`, made from the teacher's features, for a loss that takes
      one: its config without the ``tap``.

    If the config of a loss or a connector leaves out channels, sizes or norms that its constructor
    needs, they are filled in: ``in_channel(s)``, ``out_channel``, ``dim_in``, ``kernel_size``,
    ``stride``, ``padding``, ``conv_cfg`` and ``norm``.

    Args:
        student (nn.Module): The student, a classifier.
        teacher (nn.Module): The teacher.
        transfers (Mapping[str, dict]): Transfers by the name of their loss in the log.
        input_shape (Sequence[int]): Shape (C, H, W) of an image. Defaults to (3, 32, 32).

    Returns:
        dict: The config.

    Raises:
        ConfigError: If a key, a place or a tap is unknown, taps do not pair up, no convolution
            makes shapes agree, or a key would be ignored.

    Examples:
        >>> transfers = dict(
        ...     loss_at=dict(
        ...         loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
        ...         at='stages', connector=None))
    """
    if not isinstance(transfers, Mapping) or not transfers:
        raise ConfigError(f'transfers={transfers!r}: give a dict of at least one, by loss name')
    written = dict(
        type='mmrazor.LocalDistiller',
        student_recorders={},
        teacher_recorders={},
        connectors={},
        distill_losses={},
        loss_forward_mappings={},
    )
    places = {}
    for name, transfer in transfers.items():
        _check_transfer(f'transfers.{name}', name, transfer)
        at, position = transfer['at'], transfer.get('position', 'post_relu')
        places[name] = paired_places(
            student, teacher, at, position, f'transfers.{name}', input_shape
        )
        mask = transfer.get('mask')
        of_label = isinstance(mask, Mapping) and mask.get('target', 'label') == 'label'
        if of_label and mask.get('method') != 'none':
            _check_classes(f'transfers.{name}.mask', student, teacher)
    for side, network in enumerate((student, teacher)):
        measure(network, [place for pair in places.values() for place in pair[side]], input_shape)
    for name, transfer in transfers.items():
        _write_transfer(written, name, transfer, *places[name], input_shape)
    return written


def _check_transfer(key: str, name: str, transfer: Any):
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
    if position not in ('post_relu', 'pre_relu'):
        raise ConfigError(f"{key}.position={position!r} is neither 'post_relu' nor 'pre_relu'")
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


def _write_transfer(
    written: dict,
    name: str,
    transfer: dict,
    of_student: list[dict],
    of_teacher: list[dict],
    input_shape: Sequence[int],
):
    """Add one transfer's parts to the distiller's config."""
    key = f'transfers.{name}.loss'
    short = name.removeprefix('loss_')
    parameters = inspect.signature(class_of(transfer['loss'], key).forward).parameters
    arguments = list(parameters)[1:3]
    mask = transfer.get('mask')
    if len(of_student) == 1 and transfer.get('growth', 1.0) != 1:
        raise ConfigError(
            f'transfers.{name}: growth={transfer["growth"]} would be ignored with one place; give '
            f'more places, or loss_weight'
        )
    _check_mask(f'transfers.{name}', mask, parameters, of_teacher)
    for i, (s_place, t_place) in enumerate(zip(of_student, of_teacher)):
        number = '' if len(of_student) == 1 else i + 1
        part, loss_name = f'{short}{number}', f'{name}{number}'
        if part in written['student_recorders']:
            raise ConfigError(
                f'transfers.{name}: a place of another transfer is called {loss_name} too; '
                f'choose another name'
            )
        mapping = {}
        s_connector, t_connector = connectors_of(transfer, s_place, t_place, f'transfers.{name}')
        for argument, place, side in zip(arguments, (s_place, t_place), ('student', 'teacher')):
            record = dict(recorder=part, from_student=side == 'student', **place['record'])
            connector = s_connector if side == 'student' else t_connector
            if connector is not None:
                written['connectors'][f'{side}_{part}'] = connector
                record['connector'] = f'{side}_{part}'
            written[f'{side}_recorders'][part] = place['recorder']
            mapping[argument] = record
        if mask is not None:
            connector = fill(
                dict(dict(type='mmrazor.SaliencyMask'), **mask),
                f'transfers.{name}.mask',
                tap=t_place['recorder']['source'],
                input_shape=None if mask.get('method') == 'none' else tuple(input_shape),
            )
            mapping['mask'] = dict(recorder=part, from_student=False, **t_place['record'])
            mapping['mask']['connector'] = _shared(written['connectors'], connector)
        loss = fill(transfer['loss'], key, in_channels=channels_of(t_place))
        weight = transfer.get('growth', 1.0) ** (i + 1 - len(of_student))
        if weight != 1:
            loss['loss_weight'] = loss.get('loss_weight', 1.0) * weight
        written['distill_losses'][loss_name] = loss
        written['loss_forward_mappings'][loss_name] = mapping


def _check_mask(key: str, mask: Any, parameters: Mapping, of_teacher: list[dict]):
    """Raise unless there is a mask if the loss takes one, and it can be made there."""
    if mask is None:
        if 'mask' in parameters and parameters['mask'].default is inspect.Parameter.empty:
            raise ConfigError(
                f"{key}: its loss takes a mask; give mask=dict(percentile=85), a SaliencyMask's "
                f"arguments, or mask=dict(method='none')"
            )
        return
    if not isinstance(mask, Mapping):
        raise ConfigError(f"{key}.mask={mask!r}: give a dict, a SaliencyMask's arguments")
    for name in ('tap', 'input_shape'):
        if name in mask:
            raise ConfigError(
                f'{key}.mask: {name} follows from where the teacher is recorded; leave it out'
            )
    if 'mask' not in parameters:
        raise ConfigError(f'{key}: it has a mask, but its loss takes none')
    for place in of_teacher:
        if place['recorder']['type'] != 'mmrazor.ModuleOutputs' or len(place['shape']) != 4:
            raise ConfigError(
                f"{key}: a mask needs features with positions, after the ReLU; set at='stages' or "
                f'name taps with such features'
            )


def _check_classes(key: str, student: nn.Module, teacher: nn.Module):
    """Raise if the student's labels are not the teacher's classes."""
    of_student, of_teacher = (
        getattr(getattr(network, 'head', None), 'num_classes', None)
        for network in (student, teacher)
    )
    if None not in (of_student, of_teacher) and of_student != of_teacher:
        raise ConfigError(
            f"{key}: target='label', but the teacher has {of_teacher} classes and the student "
            f"{of_student}; set target='prediction'"
        )


def _shared(connectors: dict, connector: dict) -> str:
    """Return the name of a connector's config, which is added unless an equal one exists."""
    for name, other in connectors.items():
        if other == connector:
            return name
    name = f'mask{len(connectors)}'
    connectors[name] = connector
    return name
