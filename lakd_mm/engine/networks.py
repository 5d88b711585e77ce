"""Networks from a config and a checkpoint."""

import os.path as osp
import re
from glob import escape, glob
from pathlib import Path
from typing import Optional, Union

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import find_latest_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from mmrazor.registry import MODELS

from ..errors import ConfigError, misfit
from ..models.data_preprocessor import with_default_type
from ..models.teachers import build_teacher
from .config_file import read_config_file

# By part, the prefix of its weights in a distillation's checkpoint.
_PREFIXES = {'student': 'architecture.', 'teacher': 'teacher.'}


def load_network(
    config: Union[str, Path, Config], checkpoint: Union[str, Path], part: str = 'student'
) -> tuple[BaseModel, Config]:
    """Load a plain classifier, ready to predict, from a training's config and checkpoint.

    Args:
        config (str | Path | Config): Config of a classifier or of a distillation; a path or
            ``package::path``.
        checkpoint (str | Path): Path or URL of a checkpoint of that config, or of the network
            alone. If the training kept moving averages, MMEngine saves them as the weights, so
            these are loaded.
        part (str): The 'student' or the 'teacher' of a distillation. Defaults to 'student'.

    Returns:
        tuple: The classifier in eval mode, with the config's data preprocessor, and the config.

    Raises:
        ConfigError: If the config has no such part, or the checkpoint does not fit exactly.
    """
    cfg = read_config(config)
    network = build_network(cfg, part)
    load_weights(network, checkpoint, part, cfg.filename)
    return network.eval(), cfg


def read_config(config: Union[str, Path, Config]) -> Config:
    """Read a config from a path or ``package::path``, and set its default scope.

    Raises:
        ConfigError: If the file is no config, or describes no model.
    """
    if not isinstance(config, Config):
        config = read_config_file(config)
    if 'model' not in config:
        raise ConfigError(f'config {config.filename}: it describes no model')
    init_default_scope(config.get('default_scope') or 'mmpretrain')
    return config


def build_network(cfg: Config, part: str = 'student') -> BaseModel:
    """Build a classifier from its config or a distillation's ``part``, with random weights.

    Raises:
        ConfigError: If the config has no such part.
    """
    if part not in _PREFIXES:
        raise ConfigError(f'part={part!r} is neither {" nor ".join(map(repr, _PREFIXES))}')
    model = cfg.model
    preprocessors = [model.get('data_preprocessor'), cfg.get('data_preprocessor')]
    if part == 'teacher':
        if 'teacher' not in model:
            kind = model.get('type')
            raise ConfigError(f'config {cfg.filename}: its model is a {kind} without a teacher')
        network = build_teacher(model.teacher)
    else:
        # Algorithm and GradientDetachStudent both keep the classifier under this key.
        while 'architecture' in model:
            model = model.architecture
        network = MODELS.build(model) if isinstance(model, dict) else model
    # An algorithm prepares the images for both networks.
    preprocessor = next(filter(None, preprocessors), None)
    if preprocessor is not None:
        network.data_preprocessor = MODELS.build(with_default_type(preprocessor))
    return network


def load_weights(
    network: BaseModel, checkpoint: str, part: str = 'student', config: Optional[str] = None
):
    """Load one network's weights into it, from a checkpoint as in :func:`part_of_state`.

    Raises:
        ConfigError: If the weights do not fit exactly; the keys and the ``config`` are named.
    """
    fit_weights(network, part_of_state(checkpoint, part), checkpoint, part, config)


def fit_weights(
    network: BaseModel, weights: dict, checkpoint: str, part: str, config: Optional[str] = None
):
    """Load weights that have the network's own names, otherwise like :func:`load_weights`."""
    try:
        load_state_dict(network, weights, strict=True)
    except RuntimeError as error:
        backbone = getattr(network, 'backbone', network)
        raise ConfigError(
            f'checkpoint {checkpoint} does not fit the {part} of {config or "the config"}, a '
            f'{type(backbone).__name__} (depth={getattr(backbone, "depth", "?")}). Name the '
            f'config that it was trained with. {misfit(error)}'
        ) from None
    # Otherwise MMEngine would initialise the weights again if training continues.
    network._is_init = True


def part_of_state(checkpoint: str, part: str = 'student') -> dict:
    """Read one network's weights from a checkpoint.

    Args:
        checkpoint (str): Path or URL of a distillation's checkpoint, or of a plain classifier's,
            whose weights are returned unchanged.
        part (str): 'student' or 'teacher'. Defaults to 'student'.

    Returns:
        dict: Weights by the classifier's own names.

    Raises:
        ConfigError: If the checkpoint cannot be read, or its distillation has no such part.
    """
    state = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    return select_part(state.get('state_dict', state), part, checkpoint)


def select_part(state: dict, part: str, checkpoint: str) -> dict:
    """Select one network's weights, see :func:`part_of_state`."""
    if not holds_distillation(state):
        return state
    prefix = _PREFIXES[part]
    weights = {key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)}
    if not weights:
        raise ConfigError(
            f'checkpoint {checkpoint} of a distillation holds no {part} (save_teacher=False leaves '
            f'the teacher out). Name the checkpoint of the {part} itself.'
        )
    return weights


def holds_distillation(state: dict) -> bool:
    """Return whether weights are a distillation's, not a plain classifier's."""
    return any(key.startswith(_PREFIXES['student']) for key in state)


def choose_checkpoint(path: str) -> str:
    """Return a checkpoint's path; for a work folder that of its best checkpoint, else its last.

    Raises:
        ConfigError: If a work folder has no checkpoint, or has best ones by several metrics.
    """
    path = osp.expanduser(path)
    if not osp.isdir(path):
        return path
    found: dict[str, dict[int, str]] = {}
    for file in glob(osp.join(escape(path), 'best_*.pth')):
        match = re.fullmatch(r'best_(.+)_(?:epoch|iter)_(\d+)\.pth', osp.basename(file))
        if match:
            found.setdefault(match[1], {})[int(match[2])] = file
    best = sorted(steps[max(steps)] for steps in found.values())
    if len(best) > 1:
        names = ', '.join(map(osp.basename, best))
        raise ConfigError(f'{path} has best checkpoints by several metrics, name one: {names}')
    chosen = best[0] if best else find_latest_checkpoint(path)
    if chosen is None:
        raise ConfigError(f'{path} holds no checkpoint (best_*.pth, epoch_*.pth or iter_*.pth)')
    return chosen
