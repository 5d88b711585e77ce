"""A distillation's student on its own: checkpoint, config and ONNX."""

import io
import os.path as osp
from pathlib import Path
from typing import NamedTuple, Optional, Union

import torch
from mmengine import fileio
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import ConfigError
from .dumped_config import config_in_checkpoint
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
    """What :func:`export_student` made.

    Attributes:
        source (str): The checkpoint that the student was taken from.
        averaged (bool): Whether the weights are moving averages of the training's.
        network (BaseModel): The student in eval mode.
        image_shape (tuple): Shape (C, H, W) of an image, as far as the config tells.
        classes (tuple): Names of its classes; empty if the checkpoint does not hold them.
        files (List[Path]): What was written: the checkpoint and the config.
        note (str, optional): What the user of image files has to know.
    """

    source: str
    averaged: bool
    network: BaseModel
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    files: list[Path]
    note: Optional[str]


def export_student(
    source: Union[str, Path],
    out: Union[str, Path],
    config: Union[str, Config, None] = None,
    averaged: Optional[bool] = None,
    force: bool = False,
) -> Export:
    """Write a distillation's student as a plain classifier's checkpoint, and its config beside it.

    The checkpoint holds the student's weights and its classes, nothing that was for training, and
    loads with ``weights_only=True``. MMPretrain's tools and inferencers take the two files.

    Args:
        source (str | Path): The distillation's checkpoint, or a work folder: its best checkpoint,
            else its last.
        out (str | Path): The file to write, ``student.pth``; the config becomes ``student.py``.
        config (str | Config, optional): The distillation's. Defaults to the one in the checkpoint.
        averaged (bool, optional): Whether to take the moving averages of the weights that an
            ``EMAHook`` kept, or the weights that it averaged. Defaults to the averages where there
            are any.
        force (bool): Whether files may be replaced. Defaults to False.

    Returns:
        Export: What was made.

    Raises:
        ConfigError: If the checkpoint has no student, its config is unknown or does not fit, there
            are no moving averages to choose, or a file exists.
    """
    source, out = choose_checkpoint(str(source)), Path(out)
    files = [out, out.with_suffix('.py')]
    check_outputs(source, files, force)
    checkpoint = CheckpointLoader.load_checkpoint(source, 'cpu', logger='silent')
    state, averaged = _weights(checkpoint, averaged, source)
    if config is None:
        config = config_in_checkpoint(checkpoint, source)
    cfg = read_config(config)
    plain = plain_config(cfg)
    text = plain.pretty_text  # before building fills in defaults
    network = build_network(plain)
    weights = select_part(state, 'student', source)
    fit_weights(network, weights, source, 'student', cfg.filename)
    note = note_on_colours(plain)
    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in _KEPT_META if isinstance(meta.get(key), (int, str))}
    described = meta.get('dataset_meta') or {}
    classes = tuple(map(str, described.get('classes') or ()))
    if classes:
        kept['dataset_meta'] = dict(classes=classes)
        if described.get('palette'):
            # Inferencers of detectors and segmenters colour what they show by it.
            kept['dataset_meta']['palette'] = [tuple(map(int, c)) for c in described['palette']]
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    lines = [f'The student of {osp.basename(source)}.', *([note] if note else [])]
    saved = io.BytesIO()
    torch.save(dict(meta=dict(cfg=text, **kept), state_dict=weights), saved)
    fileio.put(saved.getvalue(), out)
    fileio.put_text(''.join(f'# {line}\n' for line in lines) + text, files[1])
    return Export(source, averaged, network.eval(), image_shape(cfg), classes, files, note)


def check_outputs(source: str, files: list[Path], force: bool):
    """Refuse to write over files.

    Raises:
        ConfigError: If a file exists and ``force`` is not set, or is no file or the source itself.
    """
    for file in files:
        if file.is_dir():
            raise ConfigError(f'{file} is a folder; name a file, such as {file / "student.pth"}')
        if file.exists() and osp.exists(source) and file.samefile(source):
            raise ConfigError(f'{file} is the checkpoint that is to be read; name another file')
        if file.exists() and not force:
            raise ConfigError(f'{file} exists; name another file, or replace it with --force')
    if len(set(files)) < len(files):
        raise ConfigError(f'{files[0]} cannot be all of checkpoint, config and ONNX; name a .pth')


def _weights(checkpoint: dict, averaged: Optional[bool], source: str) -> tuple[dict, bool]:
    """A distillation's weights, and whether they are moving averages."""
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
        # MMEngine saves the averages as the weights, and the weights in their place.
        prefix = 'module.'
        own = {k[len(prefix) :]: v for k, v in averages.items() if k.startswith(prefix)}
        return {**state, **own}, False
    return state, True
