"""Methods for classifiers by name, as the bases of our configs define them."""

from collections.abc import Callable
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from lakd_mm.engine import ConfigError
from lakd_mm.errors import near_names

CONFIGS = Path(__file__).parents[2] / 'configs'
BASES = ('lakd', 'classification', 'literature')
# Folders of several methods: the one with all its losses.
WHOLE = {'causal': 'causal_kd_fa_at'}
# These look at the last stage, which the bases count for networks of three.
LAST_STAGE = {'ft': 'loss_ft', 'mgd': 'loss_mgd', 'sp': 'loss_sp'}


def read_methods() -> dict[str, tuple[str, dict]]:
    """Return by a method's name the base that defines it, and its model."""
    found = {}
    for base in BASES:
        cfg = Config.fromfile(CONFIGS / '_base_' / 'methods' / f'{base}.py')
        found.update({name: (base, model) for name, model in cfg.methods.to_dict().items()})
    return found


def find_method(
    name: str, n_train: int, count_stages: Callable[[], Optional[int]]
) -> tuple[str, str, dict, list[str]]:
    """Find a method, and adapt it to the data and the networks.

    Args:
        name (str): Its folder in ``configs/``, or its name in ``configs/_base_/methods``.
        n_train (int): Images to train on.
        count_stages (Callable[[], int | None]): Counts the pairs of stages, None if there are none.

    Returns:
        tuple: The base that defines it, its name there, its model, and the lines of a config that
        change that model.

    Raises:
        ConfigError: If there is no such method for classifiers.
    """
    methods = read_methods()
    key = WHOLE.get(name, name)
    if key not in methods:
        if (CONFIGS / name).is_dir():
            raise ConfigError(f'--method {name}: it is none for classifiers of images in folders')
        raise ConfigError(f'--method {name}: no such method; {near_names(name, methods)}')
    stages = count_stages() if key in LAST_STAGE or key == 'hmat' else None
    if key == 'hmat' and stages == 4:
        key = 'hmat_4_stages'
    base, model = methods[key]
    lines = []
    if key == 'crd':
        model['transfers']['loss_crd']['loss']['num_data'] = n_train
        lines.append(f'model.transfers.loss_crd.loss.num_data = {n_train}')
    if stages and key in LAST_STAGE:
        loss = LAST_STAGE[key]
        model['transfers'][loss]['at'] = [stages]
        lines.append(f"model.transfers.{loss}['at'] = [{stages}]")
    return base, key, model, lines
