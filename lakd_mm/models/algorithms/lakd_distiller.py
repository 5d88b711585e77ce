"""From LAKD's short keys to a distiller's long form."""

from collections.abc import Sequence
from typing import Optional

from ...errors import ConfigError


def lakd_distiller(
    student_taps: Sequence[str],
    teacher_taps: Sequence[str],
    feature_loss: dict,
    attention_loss: Optional[dict],
    connectors: dict[str, dict],
    feature_at_last: bool,
    tap_position: str,
    ndam_source: str,
) -> dict:
    """Write the config of a :class:`LocalDistiller` for LAKD.

    Module l has the recorder ``module{l}`` on both sides and the loss ``loss_module{l}``; class
    attention has the recorder ``backbone``, the connectors ``student_cam`` and ``teacher_cam`` and
    the loss ``loss_cat``.

    Args:
        student_taps (Sequence[str]): Module names in the student.
        teacher_taps (Sequence[str]): Module names in the teacher, one for each.
        feature_loss (dict): Config of the loss at each tap, a fresh one for each.
        attention_loss (dict, optional): Config of the loss on class activation maps.
        connectors (Dict[str, dict]): Student-side connectors by 'module1' …
        feature_at_last (bool): Whether the last tap has a feature loss.
        tap_position (str): 'post_relu' or 'pre_relu'.
        ndam_source (str): 'tap', 'cam' or 'prev'.

    Returns:
        dict: The config.

    Raises:
        ConfigError: If the numbers of taps differ, a connector belongs to no tap, or an option is
            unknown.
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

    distiller = dict(
        type='mmrazor.LocalDistiller',
        student_recorders=_recorders(modules, student_taps, tap_position),
        teacher_recorders=_recorders(modules, teacher_taps, tap_position),
        connectors=dict(connectors),
        distill_losses={},
        loss_forward_mappings={},
    )
    record = dict(record_idx=-1, data_idx=0) if tap_position == 'pre_relu' else {}
    cam = dict(recorder='backbone', from_student=False, data_idx=-1, connector='teacher_cam')
    for i, module in enumerate(modules if feature_at_last else modules[:-1]):
        student = dict(recorder=module, from_student=True, **record)
        if module in connectors:
            student['connector'] = module
        mapping = dict(
            s_feature=student, t_feature=dict(recorder=module, from_student=False, **record)
        )
        if ndam_source == 'cam':
            mapping['attention'] = cam
        elif ndam_source == 'prev' and i:
            mapping['attention'] = dict(recorder=modules[i - 1], from_student=False, **record)
        distiller['distill_losses'][f'loss_{module}'] = dict(feature_loss)
        distiller['loss_forward_mappings'][f'loss_{module}'] = mapping
    if attention_loss is not None:
        distiller['distill_losses']['loss_cat'] = dict(attention_loss)
        distiller['loss_forward_mappings']['loss_cat'] = dict(
            preds_S=dict(cam, from_student=True, connector='student_cam'), preds_T=cam
        )
        distiller['connectors']['student_cam'] = dict(type='mmrazor.CAMConnector')
        distiller['student_recorders']['backbone'] = _backbone()
    if attention_loss is not None or ndam_source == 'cam':
        distiller['connectors']['teacher_cam'] = dict(type='mmrazor.CAMConnector')
        distiller['teacher_recorders']['backbone'] = _backbone()
    return distiller


def _backbone() -> dict:
    return dict(type='mmrazor.ModuleOutputs', source='backbone')


def _recorders(modules: Sequence[str], taps: Sequence[str], tap_position: str) -> dict:
    """A block's output, or what its last ReLU gets: the sum with the shortcut."""
    if tap_position == 'pre_relu':
        kind, suffix = 'mmrazor.ModuleInputs', '.relu'
    else:
        kind, suffix = 'mmrazor.ModuleOutputs', ''
    return {m: dict(type=kind, source=tap + suffix) for m, tap in zip(modules, taps)}
