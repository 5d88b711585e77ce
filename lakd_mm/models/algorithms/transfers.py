"""Write transfers as recorders, connectors, losses and mappings."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn as nn

from ...errors import ConfigError
from ..places.pairing import measure, paired_places
from .adapters import channels_behind, channels_of, connectors_of
from .part_configs import class_of, fill
from .transfer_checks import check_transfer


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
      ``teacher``, lists of taps that pair up (:func:`resolve_taps`). A list may hold names of
      places too, such as ``['stages', 'pooled']``. Each of several places has its own loss, with a
      number after the name, unless the loss takes all places ``together``.
    - ``position`` of features: 'post_relu' (default), a block's output, or 'pre_relu', see
      :func:`pre_relu_record`; or one of them for each side, ``dict(student=…, teacher=…)``.
    - ``connector`` of the student's record: 'auto' (default), which makes a convolution and
      BatchNorm if the shapes of features differ; a config; or None.
    - ``teacher_connector`` of the teacher's record: a config, or None (default).
    - ``growth``: factor of the loss's weight from one place to the next; the last place has the
      weight of the config. Defaults to 1.
    - ``mask``: for a loss that takes a mask, the config of a :class:`SaliencyMask` of the teacher's
      feature, without the ``tap``.
    - ``warmup``: epochs over which the loss grows linearly to its weight; the first of n epochs has
      1 / n of it. Defaults to 0.

    If a config leaves out channels, sizes or norms that its constructor takes, they are filled in:
    for a connector ``in_channel(s)``, ``out_channel(s)``, ``dim_in``, ``kernel_size``, ``stride``,
    ``padding``, ``conv_cfg`` and ``norm``; for a loss ``in_channels`` (the teacher's) and, at
    'logits', ``num_classes``; for both ``student_channels`` and ``teacher_channels``.

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
        check_transfer(f'transfers.{name}', name, transfer)
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
    cls = class_of(transfer['loss'], key)
    parameters = inspect.signature(cls.forward).parameters
    arguments = list(parameters)[1:3]
    # A loss of all places together adapts widths and sizes itself.
    together = getattr(cls, 'together', False)
    mask = transfer.get('mask')
    if (together or len(of_student) == 1) and transfer.get('growth', 1.0) != 1:
        raise ConfigError(
            f'transfers.{name}: growth={transfer["growth"]} would be ignored with one '
            f'{"loss" if together else "place"}; give more places, or loss_weight'
        )
    _check_mask(f'transfers.{name}', mask, parameters, of_teacher)
    mappings, widths = {}, []
    for i, (s_place, t_place) in enumerate(zip(of_student, of_teacher)):
        number = '' if len(of_student) == 1 else i + 1
        part = f'{short}{number}'
        if part in written['student_recorders']:
            raise ConfigError(
                f'transfers.{name}: a place of another transfer is called {name}{number} too; '
                f'choose another name'
            )
        mapping, width = {}, {}
        connectors = connectors_of(transfer, s_place, t_place, f'transfers.{name}', together)
        for argument, place, side, connector in zip(
            arguments, (s_place, t_place), ('student', 'teacher'), connectors
        ):
            record = dict(recorder=part, from_student=side == 'student', **place['record'])
            if connector is not None:
                written['connectors'][f'{side}_{part}'] = connector
                record['connector'] = f'{side}_{part}'
            written[f'{side}_recorders'][part] = place['recorder']
            mapping[argument] = record
            width[f'{side}_channels'] = channels_behind(connector, place, t_place)
        if mask is not None:
            connector = fill(
                dict(dict(type='mmrazor.SaliencyMask'), **mask),
                f'transfers.{name}.mask',
                tap=t_place['recorder']['source'],
                input_shape=None if mask.get('method') == 'none' else tuple(input_shape),
            )
            mapping['mask'] = dict(recorder=part, from_student=False, **t_place['record'])
            mapping['mask']['connector'] = _shared(written['connectors'], connector)
        mappings[f'{name}{number}'] = mapping
        widths.append(width)
    if together:
        mappings = {name: {a: [m[a] for m in mappings.values()] for a in arguments}}
        widths = [{side: [width[side] for width in widths] for side in widths[0]}]
    for i, ((loss_name, mapping), width) in enumerate(zip(mappings.items(), widths)):
        width['in_channels'] = channels_of(of_teacher[i])
        classes = width['in_channels'] if transfer['at'] == 'logits' else None
        loss = fill(transfer['loss'], key, num_classes=classes, **width)
        weight = transfer.get('growth', 1.0) ** (i + 1 - len(mappings))
        if weight != 1:
            loss['loss_weight'] = loss.get('loss_weight', 1.0) * weight
        written['distill_losses'][loss_name] = loss
        written['loss_forward_mappings'][loss_name] = mapping
        if transfer.get('warmup', 0):
            written.setdefault('warmup', {})[loss_name] = transfer['warmup']


def _check_mask(key: str, mask: Any, parameters: Mapping, of_teacher: list[dict]):
    """Raise if a mask is missing, not taken by the loss, or cannot be made there."""
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
    """Return the name of an equal connector's config; add this one if there is none."""
    for name, other in connectors.items():
        if other == connector:
            return name
    name = f'mask{len(connectors)}'
    connectors[name] = connector
    return name
