"""Write LAKD's short keys as the config of a distiller."""

from collections.abc import Sequence
from typing import Optional

import torch.nn as nn

from ...errors import ConfigError
from ..places.cams import cam_place
from ..places.taps import Tap, find_backbone
from ..places.trace import Block, find_stages, last_convolution, paired_stages
from .transfer_checks import refuse_records_past_cuts
from .transfers import write_distiller


def shifted_taps(
    network: nn.Module, stages: Sequence[Sequence[Block]], input_shape: Sequence[int]
) -> list[str]:
    """Return LAKD's taps: each stage's first block; of the last stage the last block or conv."""
    firsts = [stage[0].name for stage in stages[:-1]]
    return firsts + [last_convolution(network, stage[-1], input_shape) for stage in stages[-1:]]


def default_taps(
    student: nn.Module,
    teacher: nn.Module,
    taps: Optional[Sequence[Tap]],
    teacher_taps: Optional[Sequence[Tap]],
    input_shape: Sequence[int],
) -> tuple[Sequence[Tap], Sequence[Tap]]:
    """Fill in taps that are None with the defaults of :class:`LAKD`.

    Raises:
        ConfigError: If a network has no map that all of it passes.
    """
    if taps is None and teacher_taps is None:
        of_student, of_teacher = paired_stages(student, teacher, input_shape)
    else:
        of_student = find_stages(student, input_shape) if taps is None else None
        of_teacher = find_stages(teacher, input_shape) if teacher_taps is None else None
    for key, network, stages in (
        ('taps', student, of_student),
        ('teacher_taps', teacher, of_teacher),
    ):
        if stages is not None and not stages:
            raise ConfigError(
                f'{key}: {type(network).__name__} ({type(find_backbone(network)[1]).__name__}) '
                f'cannot be cut: it has no block that all of it passes and that gives a map or '
                f'tokens; give module names'
            )
    if taps is None:
        taps = shifted_taps(student, of_student, input_shape)
    if teacher_taps is None:
        teacher_taps = [stage[-1].name for stage in of_teacher]
    return taps, teacher_taps


def lakd_distiller(
    student: nn.Module,
    teacher: nn.Module,
    student_taps: Sequence[str],
    teacher_taps: Sequence[str],
    feature_loss: dict,
    feature_weights: Optional[Sequence[float]],
    attention_loss: Optional[dict],
    extra_losses: dict[str, dict],
    connectors: dict[str, dict],
    feature_at_last: bool,
    tap_position: str,
    ndam_source: str,
    detach: bool,
    input_shape: Sequence[int],
) -> dict:
    """Write the config of a :class:`LocalDistiller` for LAKD.

    Module l has the recorder ``module{l}`` on both sides and the loss ``loss_module{l}``. Class
    attention has the recorder ``cat``, the connectors ``student_cat`` and ``teacher_cat``, and the
    loss ``loss_cat``.

    Args:
        student (nn.Module): The student, a classifier.
        teacher (nn.Module): The teacher.
        student_taps (Sequence[str]): Module names in the student.
        teacher_taps (Sequence[str]): Module names in the teacher, one for each.
        feature_loss (dict): Config of the loss; each tap has its own copy.
        feature_weights (Sequence[float], optional): Factors of its ``loss_weight``, one a tap.
        attention_loss (dict, optional): Config of the loss on class activation maps.
        extra_losses (Dict[str, dict]): Transfers beside these.
        connectors (Dict[str, dict]): Student-side connectors by 'module1' …; other modules get one
            if shapes differ.
        feature_at_last (bool): Whether the last tap has a feature loss.
        tap_position (str): 'post_relu' or 'pre_relu'.
        ndam_source (str): 'tap', 'cam' or 'prev'.
        detach (bool): Whether gradients are cut behind the taps.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.

    Returns:
        dict: The config.

    Raises:
        ConfigError: If the numbers of taps or weights differ, a weight is not positive, a
            connector belongs to no tap or to a tap without a loss, an extra loss has a name of
            LAKD's or does not fit, or an option is unknown or has no effect.
    """
    if len(student_taps) != len(teacher_taps):
        raise ConfigError(
            f'taps and teacher_taps must pair up, but there are {len(student_taps)} '
            f'({", ".join(student_taps)}) and {len(teacher_taps)} ({", ".join(teacher_taps)})'
        )
    for key, value, options in (
        ('tap_position', tap_position, ('post_relu', 'pre_relu')),
        ('ndam_source', ndam_source, ('tap', 'cam', 'prev')),
    ):
        if value not in options:
            raise ConfigError(f'{key}={value!r} is none of {", ".join(map(repr, options))}')
    modules = [f'module{i + 1}' for i in range(len(student_taps))]
    unknown = sorted(set(connectors) - set(modules))
    if unknown:
        raise ConfigError(f'connectors: no {unknown[0]!r}, the modules are {", ".join(modules)}')

    if not feature_at_last:
        if len(modules) == 1:
            raise ConfigError(
                'feature_at_last=False leaves no feature loss if there is only one tap; give more '
                "taps, or use type='mmrazor.Distill' with a CATLoss"
            )
        if modules[-1] in connectors:
            raise ConfigError(
                f'connectors.{modules[-1]} would be ignored with feature_at_last=False, since the '
                f'last tap then has no feature loss; leave it out'
            )

    count = len(modules) - (not feature_at_last)
    losses = _weighted(feature_loss, feature_weights, count, detach)
    transfers = {
        f'loss_{module}': dict(
            loss=loss,
            at=dict(student=[student_tap], teacher=[teacher_tap]),
            position=_position(student, student_tap, teacher, teacher_tap, tap_position),
            connector=connectors.get(module, 'auto'),
        )
        for module, student_tap, teacher_tap, loss in zip(
            modules, student_taps, teacher_taps, losses
        )
    }
    if attention_loss is not None:
        transfers['loss_cat'] = dict(loss=attention_loss, at='cams')
    taken = sorted(extra_losses.keys() & transfers.keys())
    if taken:
        raise ConfigError(f'extra_losses.{taken[0]}: LAKD has a loss of this name; choose another')
    try:
        refuse_records_past_cuts(student, extra_losses)
        distiller = write_distiller(student, teacher, {**transfers, **extra_losses}, input_shape)
    except ConfigError as error:
        message = str(error)
        for name in extra_losses:
            message = message.replace(f'transfers.{name}', f'extra_losses.{name}')
        raise ConfigError(message) from None
    _set_ndam_source(distiller, ndam_source, modules[:count], teacher, input_shape)
    return distiller


def _weighted(
    loss: dict, weights: Optional[Sequence[float]], count: int, detach: bool
) -> list[dict]:
    """Return the config of the feature loss, weighted, for each tap that has one.

    A weight may be 0 only where nothing is cut: another loss then trains the module.
    """
    if weights is None:
        return [loss] * count
    if len(weights) != count or not all(w > 0 or w == 0 and not detach for w in weights):
        bound = 'above 0' if detach else 'of at least 0'
        raise ConfigError(
            f'feature_weights={list(weights)}: give {count} numbers {bound}, one for each tap with '
            'a feature loss; feature_at_last=False leaves out the last one'
        )
    return [dict(loss, loss_weight=loss.get('loss_weight', 1.0) * weight) for weight in weights]


def _position(student, student_tap, teacher, teacher_tap, tap_position) -> str:
    """Return the position of a pair of taps; a pre-activation block's ReLU is past the cut."""
    taps = student.get_submodule(student_tap), teacher.get_submodule(teacher_tap)
    signed = any(getattr(tap, 'pre_activation', False) for tap in taps)
    return 'post_relu' if signed else tap_position


def _set_ndam_source(
    distiller: dict,
    source: str,
    modules: Sequence[str],
    teacher: nn.Module,
    input_shape: Sequence[int],
):
    """Set the source of the mapping of each module with a feature loss, if it is another."""
    mappings = distiller['loss_forward_mappings']
    if source == 'cam':
        place = cam_place(teacher, input_shape, "ndam_source='cam' of the teacher", trained=False)
        distiller['teacher_recorders'].setdefault('cat', place['recorder'])
        distiller['connectors'].setdefault('teacher_cat', place['connector'])
        cam = dict(recorder='cat', from_student=False, connector='teacher_cat', **place['record'])
        for module in modules:
            mappings[f'loss_{module}']['attention'] = cam
    elif source == 'prev':
        if len(modules) == 1:
            raise ConfigError(
                "ndam_source='prev' would be ignored: no tap after the first has a feature loss; "
                "give more taps, or ndam_source='tap'"
            )
        for previous, module in zip(modules, modules[1:]):
            target = mappings[f'loss_{previous}']['t_feature']
            mappings[f'loss_{module}']['attention'] = target
