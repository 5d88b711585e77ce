"""Export of a distillation's student: checkpoint and config."""

import io
import os.path as osp
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Optional, Union

import torch
from mmengine import fileio
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import ConfigError
from .dumped_config import config_in_checkpoint, registered_only
from .networks import (
    build_network,
    choose_checkpoint,
    fit_weights,
    holds_distillation,
    read_config,
    select_part,
)
from .plain_config import image_shape, note_on_colours, plain_config

_KEPT_META = ('epoch', 'iter', 'seed', 'mmengine_version')


class Export(NamedTuple):
    """Result of :func:`export_student`."""

    source: str  # The checkpoint that contained the student.
    averaged: bool  # Whether the weights are moving averages over the training.
    network: BaseModel  # The student in eval mode.
    image_shape: tuple[int, int, int]  # (C, H, W) of an image.
    classes: tuple[str, ...]  # Names of its classes; empty if the checkpoint does not hold them.
    files: list[Path]  # The written files: the checkpoint and the config.
    note: Optional[str]  # What users of image files must know.


def export_student(
    source: Union[str, Path],
    out: Union[str, Path],
    config: Union[str, Config, None] = None,
    averaged: Optional[bool] = None,
    force: bool = False,
) -> Export:
    """Write a distillation's student as a plain classifier's checkpoint, and its config beside it.

    The checkpoint holds the student's weights and classes, nothing that only training needs, and
    loads with ``weights_only=True``. MMPretrain's tools and inferencers accept both files.

    Args:
        source (str | Path): The distillation's checkpoint; or a work folder, for its best
            checkpoint, or its last if there is no best one.
        out (str | Path): The file to write, ``student.pth``; the config becomes ``student.py``.
        config (str | Config, optional): The distillation's. Defaults to the one in the checkpoint.
        averaged (bool, optional): Whether to use the moving averages of an ``EMAHook``, or the
            weights that it averaged. Defaults to the averages if there are any.
        force (bool): Whether to replace existing files. Defaults to False.

    Returns:
        Export: What was exported.

    Raises:
        ConfigError: If the checkpoint has no student, its config is unknown or does not fit, it has
            no moving averages although ``averaged`` is True, or a file exists.
    """
    source, out = choose_checkpoint(str(source)), Path(out)
    files = [out, out.with_suffix('.py')]
    check_outputs(source, files, force)
    checkpoint = CheckpointLoader.load_checkpoint(source, 'cpu', logger='silent')
    state, averaged = _weights(checkpoint, averaged, source)
    foreign = config is None
    cfg = read_config(config_in_checkpoint(checkpoint, source) if foreign else config)
    plain = plain_config(cfg)
    text = plain.pretty_text  # before the build fills in defaults
    with registered_only() if foreign else nullcontext():
        network = build_network(plain)
    weights = select_part(state, 'student', source)
    fit_weights(network, weights, source, 'student', cfg.filename)
    shape = image_shape(cfg, network)
    note = note_on_colours(plain, shape[0])
    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in _KEPT_META if isinstance(meta.get(key), (int, str))}
    described = meta.get('dataset_meta') or {}
    classes = tuple(map(str, described.get('classes') or ()))
    if classes:
        kept['dataset_meta'] = dict(classes=classes)
        if described.get('palette'):
            # Inferencers of detectors and segmenters take their colours from it.
            kept['dataset_meta']['palette'] = [tuple(map(int, c)) for c in described['palette']]
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    lines = [f'The student of {osp.basename(source)}.', *([note] if note else [])]
    saved = io.BytesIO()
    torch.save(dict(meta=dict(cfg=text, **kept), state_dict=weights), saved)
    fileio.put(saved.getvalue(), out)
    fileio.put_text(''.join(f'# {line}\n' for line in lines) + text, files[1])
    return Export(source, averaged, network.eval(), shape, classes, files, note)


def check_outputs(source: str, files: list[Path], force: bool):
    """Raise a ConfigError for a folder, the source, and without ``force`` existing files."""
    for file in files:
        if file.is_dir():
            raise ConfigError(f'{file} is a folder; name a file, such as {file / "student.pth"}')
        if file.exists() and osp.exists(source) and file.samefile(source):
            raise ConfigError(f'{file} is the checkpoint to read; name another file')
        if file.exists() and not force:
            raise ConfigError(f'{file} exists; name another file, or replace it with --force')
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise ConfigError(f'{twice} cannot be two of the files to write; name a .pth, .onnx, .pt2')


def _weights(checkpoint: dict, averaged: Optional[bool], source: str) -> tuple[dict, bool]:
    """Return a distillation's weights, and whether they are moving averages."""
    state = checkpoint.get('state_dict', checkpoint)
    if not holds_distillation(state):
        raise ConfigError(
            f'checkpoint {source} holds no student and teacher (architecture.…): it is a plain '
            f'classifier already. Use it with the config that it was trained with'
        )
    averages = checkpoint.get('ema_state_dict')
    if averages is None:
        if averaged:
            raise ConfigError(f'checkpoint {source} holds no moving averages (no EMAHook)')
        return state, False
    if averaged is False:
        # MMEngine saves the averages as the weights, and the weights as the averages.
        own = {k[7:]: v for k, v in averages.items() if k.startswith('module.')}
        return {**state, **own}, False
    return state, True
