"""A teacher and a student, built and run once: what is compared where, and the memory it takes."""

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from lakd_mm.engine import ConfigError
from lakd_mm.engine.config_file import first_line
from lakd_mm.models import Distill
from lakd_mm.models.distillers import LocalDistiller

# Arguments of losses that say where to look, not what to compare.
SIDE = ('mask', 'attention')


def build_pair(model: dict, names: str) -> tuple[Distill, str]:
    """Build a distillation on this machine's CPU, LAKD without class attention if need be.

    Args:
        model (dict): Its config.
        names (str): The method and the networks, for messages.

    Returns:
        Tuple[Distill, str]: The distillation, and why there is no class attention in it; nothing if
        there is, or the method has none.

    Raises:
        ConfigError: If the method cannot be used on these networks; the message says where.
    """
    try:
        return MODELS.build(copy.deepcopy(model)), ''
    except (ConfigError, RuntimeError) as error:
        first = error
    if 'attention_loss' in model:
        try:
            built = MODELS.build(copy.deepcopy(dict(model, attention_loss=None)))
            return built, first_line(first).rstrip('.')
        except (ConfigError, RuntimeError):
            pass
    raise _unfit(names, model, first) from None


def count_stages(model: dict) -> Optional[int]:
    """Return how many stages of both networks pair up, None if they do not."""
    loss = dict(type='mmrazor.AttentionTransferLoss')
    transfers = dict(loss_at=dict(loss=loss, at='stages', connector=None))
    try:
        built = MODELS.build(dict(model, type='mmrazor.Distill', transfers=transfers))
    except (ConfigError, RuntimeError):
        return None
    return len(built.distiller.loss_forward_mappings)


def pairing(model: Distill, shape: Sequence[int]) -> list[tuple[str, ...]]:
    """Return a table of what each loss compares, its header first.

    Args:
        model (Distill): The distillation.
        shape (Sequence[int]): Shape (C, H, W) of an image.
    """
    distiller = model.distiller
    images = torch.randn(2, *shape)
    samples = _samples(2)
    model.eval()
    with distiller.student_recorders, distiller.teacher_recorders, torch.no_grad():
        model.student(images, mode='tensor')
        model.teacher(images, mode='tensor')
    rows = [('loss', 'student', 'its shape', 'made to fit by', 'teacher', 'its shape')]
    for loss, mapping in distiller.loss_forward_mappings.items():
        for records in zip(_records(mapping, True), _records(mapping, False)):
            student, teacher = (_side(distiller, record, samples) for record in records)
            fit = ' and '.join(dict.fromkeys(k for *_, k in (student, teacher) if k)) or '-'
            rows.append((loss, *student[:2], fit, *teacher[:2]))
    distiller.drop_records()
    return rows


def smallest_side(rows: Sequence[Sequence[str]]) -> Optional[int]:
    """Return the positions of a side of the smallest map in a pairing; None without maps."""
    shapes = ' '.join(cell for row in rows[1:] for cell in (row[2], row[5]))
    return min((int(n) for n in re.findall(r'\b\d+x\d+x(\d+)\b', shapes)), default=None)


def bytes_of_a_step(model: Distill, shape: Sequence[int], names: str) -> tuple[int, int]:
    """Run a training step's forward on two images of noise; measure what it keeps.

    Returns:
        Tuple[int, int]: Bytes that the backward of one image needs, and of weights, gradients and
        momentum.

    Raises:
        ConfigError: If the step fails.
    """
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = model(torch.randn(2, *shape), _samples(2), mode='loss')
            model.parse_losses(losses)
    except (ConfigError, RuntimeError, AssertionError) as error:
        raise _unfit(names, dict(input_shape=shape), error) from None
    fixed = sum(p.nbytes * (3 if p.requires_grad else 1) for p in model.parameters())
    return sum(kept.values()) // 2, fixed


def _unfit(names: str, model: dict, error: Exception) -> ConfigError:
    _, height, width = model['input_shape']
    return ConfigError(
        f'{names} does not work on {width}x{height} images: {first_line(error).rstrip(".")}. '
        f'Choose another network, --method or --size'
    )


def _samples(n: int) -> list[DataSample]:
    return [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(0) for i in range(n)]


def _records(mapping: dict, from_student: bool) -> Iterator[dict]:
    for argument, records in mapping.items():
        for record in [records] if isinstance(records, dict) else records:
            if argument not in SIDE and record['from_student'] == from_student:
                yield record


def _side(distiller: LocalDistiller, record: dict, samples: Sequence) -> tuple[str, str, str]:
    """Return a record's module, its shapes without and with its connector, and that one's type."""
    manager = distiller.student_recorders if record['from_student'] else distiller.teacher_recorders
    name = manager.get_recorder(record['recorder']).source
    connector = record.get('connector')
    with torch.no_grad():
        plain = {key: value for key, value in record.items() if key != 'connector'}
        shapes = [_shape(distiller.get_record(**plain))]
        if connector:
            shapes.append(_shape(distiller.get_record(**record, data_samples=samples)))
    kind = type(distiller.connectors[connector]).__name__ if connector else ''
    return name, ' to '.join(dict.fromkeys(shapes)), kind


def _shape(record: Any) -> str:
    if isinstance(record, (tuple, list)):
        return ' and '.join(map(_shape, record))
    return 'x'.join(map(str, record.shape[1:]))
