"""A teacher and a student, built and run once: what is compared where, and the memory it takes."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from lakd_mm.engine import ConfigError
from lakd_mm.engine.config_file import first_line
from lakd_mm.models import Distill

# Arguments of losses that say where to look, not what to compare.
SIDE = ('mask', 'attention')


def build_pair(model: dict, names: str) -> Distill:
    """Build a distillation on this machine's CPU.

    Args:
        model (dict): Its config.
        names (str): The method and the networks, for messages.

    Raises:
        ConfigError: If the method cannot be used on these networks; the message says where.
    """
    try:
        return MODELS.build(copy.deepcopy(model))
    except (ConfigError, RuntimeError) as error:
        raise _unfit(names, model, error) from None


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
        pairs = zip(_records(mapping, True), _records(mapping, False))
        for of_student, of_teacher in pairs:
            sides = []
            for record, recorders in (
                (of_student, distiller.student_recorders),
                (of_teacher, distiller.teacher_recorders),
            ):
                connector = record.get('connector')
                raw = {k: v for k, v in record.items() if k != 'connector'}
                with torch.no_grad():
                    shapes = [_shape(distiller.get_record(**raw))]
                    if connector:
                        made = distiller.get_record(**record, data_samples=samples)
                        shapes.append(_shape(made))
                name = recorders.get_recorder(record['recorder']).source
                kind = type(distiller.connectors[connector]).__name__ if connector else ''
                sides.append((name, ' to '.join(dict.fromkeys(shapes)), kind))
            (s_name, s_shape, s_kind), (t_name, t_shape, t_kind) = sides
            fit = s_kind if s_kind == t_kind else ' and '.join(filter(None, (s_kind, t_kind)))
            rows.append((loss, s_name, s_shape, fit or '-', t_name, t_shape))
    distiller.drop_records()
    return rows


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


def _shape(record: Any) -> str:
    if isinstance(record, (tuple, list)):
        return ' and '.join(map(_shape, record))
    return 'x'.join(map(str, record.shape[1:]))
