"""Distances at taps in the course of a training, from its log or from its checkpoints."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ..engine.hooks.model_for_metrics_hook import first_images
from ..engine.networks import build_network, load_weights
from ..errors import ConfigError
from ..models.data_preprocessor import with_default_type
from ..models.places.taps import Tap
from ..models.teachers import TeacherEnsemble, load_teacher
from .run_log import log_records
from .sample_images import check_normalization, sample_images
from .tap_metrics import TapDistances

# By tap, the distance after each epoch.
Curves = dict[str, dict[int, float]]
_KEY = f'{TapDistances.default_prefix}/'


def logged_distances(work_dir: Path) -> Curves:
    """Read what :class:`TapDistances` logged in a work folder, by tap and epoch.

    If several runs are in the folder, later ones override earlier ones.
    """
    found: Curves = {}
    for record in log_records(work_dir):
        for key, value in record.items():
            if key.startswith(_KEY):
                found.setdefault(key[len(_KEY) :], {})[record['step']] = value
    return {tap: dict(sorted(curve.items())) for tap, curve in sorted(found.items(), key=_order)}


def measured_distances(
    cfg: Config,
    checkpoints: dict[int, Path],
    teacher: Optional[BaseModel] = None,
    student_taps: Optional[Sequence[Tap]] = None,
    teacher_taps: Optional[Sequence[Tap]] = None,
    images: int = 1000,
    batch_size: int = 250,
    seed: int = 0,
) -> tuple[Curves, list[tuple[str, str]]]:
    """Measure the distances of each checkpoint on test images of its config.

    Args:
        cfg (Config): Config of a distillation, or of a plain classifier if ``teacher`` is given.
        checkpoints (Dict[int, Path]): Checkpoints by epoch.
        teacher (BaseModel, optional): A teacher instead of the distillation's own.
        student_taps (Sequence[int | str], optional): See :class:`TapDistances`.
        teacher_taps (Sequence[int | str], optional): See :class:`TapDistances`.
        images (int): Number of images. Defaults to 1000.
        batch_size (int): Images in a batch. Defaults to 250.
        seed (int): Seed for drawing the images. Defaults to 0.

    Returns:
        tuple: Distances by tap and epoch, like those of :func:`logged_distances`; and for each tap
        the module of the student and that of the teacher.

    Raises:
        ConfigError: If there is no teacher, or a checkpoint or a tap does not fit.
    """
    model = _build(cfg, next(iter(checkpoints.values())), teacher)
    metric = TapDistances(
        teacher=teacher,
        data_preprocessor=None if teacher is None else cfg.get('data_preprocessor', {}),
        student_taps=student_taps,
        teacher_taps=teacher_taps,
    )
    if teacher is not None:
        check_normalization(model.data_preprocessor, teacher.data_preprocessor, 'the teacher')
    loader = sample_images(cfg, images, batch_size, seed)
    metric.use_model(model, first_images(loader))
    found: Curves = {}
    for epoch, path in checkpoints.items():
        load_weights(getattr(model, 'student', model), str(path), 'student', cfg.filename)
        for batch in loader:
            metric.process(batch, batch['data_samples'])
        for tap, value in metric.compute_metrics(metric.results).items():
            found.setdefault(tap, {})[epoch] = value
        metric.results.clear()
    return found, metric.pairs


def _build(cfg: Config, checkpoint: Path, teacher: Optional[BaseModel]) -> BaseModel:
    """Build a config's algorithm with its teacher loaded, or its classifier; in eval mode."""
    if 'teacher' not in cfg.model:
        if teacher is None:
            raise ConfigError(
                f'config {cfg.filename} has no teacher to compare with; name one by --teacher'
            )
        return build_network(cfg).to(get_device()).eval()
    preprocessor = with_default_type(cfg.get('data_preprocessor'))
    options = {'data_preprocessor': preprocessor, **cfg.model, 'teacher_ckpt': None}
    model = MODELS.build(options).to(get_device()).eval()
    if teacher is None:
        try:
            load_weights(model.teacher, str(checkpoint), 'teacher', cfg.filename)
        except ConfigError:
            file = cfg.model.get('teacher_ckpt')
            if not file:
                raise
            if isinstance(model.teacher, TeacherEnsemble):
                load_teacher(model.teacher, file)
            else:
                load_weights(model.teacher, file, 'teacher', cfg.filename)
    return model


def _order(item: tuple) -> list:
    """Sort tap10 after tap9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', item[0])]
