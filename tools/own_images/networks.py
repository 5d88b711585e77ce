"""Networks by name or config, with another number of classes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config
from mmpretrain.apis.model import ModelHub
from mmrazor.registry import MODELS

from lakd_mm.engine import ConfigError
from lakd_mm.engine.config_file import read_config_file
from lakd_mm.engine.networks import fit_weights, part_of_state
from lakd_mm.errors import near_names
from lakd_mm.models.nested import map_dicts

# That of configs/_base_/datasets/folder.py.
NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
# Of a classifier's config, what only its own training needs.
TRAINING_KEYS = ('train_cfg', 'pretrained', 'data_preprocessor')


@dataclass(frozen=True)
class Network:
    """A classifier, as its config describes it."""

    name: str
    config: Config
    weights: Optional[str]  # Published ones.
    classes: int  # Of its config.

    def model(self, classes: int) -> dict:
        """Return the config of the network for so many classes."""

        def change(part: dict) -> dict:
            if part.get('num_classes') == self.classes:
                part['num_classes'] = classes
            # These want labels that mixed images have.
            if 'Loss' in str(part.get('type')) and (
                part.get('use_soft') or part.get('use_sigmoid')
            ):
                return dict(type='CrossEntropyLoss')
            return {k: v for k, v in part.items() if k != 'init_cfg' or 'Pretrained' not in str(v)}

        model = self.config.model.to_dict()
        model = map_dicts(change, {k: v for k, v in model.items() if k not in TRAINING_KEYS})
        if '.' not in model['type']:
            model['type'] = f'mmpretrain.{model["type"]}'
        return model

    @property
    def image_size(self) -> Optional[int]:
        """The only size that its backbone is made for, if it names one."""
        size = self.config.model.get('backbone', {}).get('img_size')
        return max(size) if isinstance(size, (list, tuple)) else size

    @property
    def normalization(self) -> dict:
        """How its images are normalised, as far as that differs from our base."""
        given = self.config.get('data_preprocessor') or self.config.model.get('data_preprocessor')
        found = {key: list(given[key]) for key in ('mean', 'std') if given and given.get(key)}
        # Data sets of arrays have another order of colours than files.
        if found and 'LoadImageFromFile' in str(self.config.get('train_dataloader')):
            found['to_rgb'] = bool(given.get('to_rgb'))
        return {key: value for key, value in found.items() if value != NORMALIZATION[key]}

    def optim_wrapper(self, batch_size: int, factor: float = 1.0) -> Optional[dict]:
        """Return the optimizer of its config with the learning rate for a batch size.

        The rate is proportional to the batch size. None if its config has no optimizer, or none
        for a known batch size.
        """
        wrapper = self.config.get('optim_wrapper') or {}
        base = self.config.get('auto_scale_lr', {}).get('base_batch_size')
        if not base or 'lr' not in wrapper.get('optimizer', {}):
            return None
        wrapper = wrapper.to_dict()
        optimizer = dict(wrapper['optimizer'])
        optimizer['lr'] = float(f'{optimizer["lr"] * batch_size / base * factor:.2g}')
        # A constructor of its own knows the layers of its own network only.
        names = ('clip_grad',) if 'constructor' in wrapper else ('paramwise_cfg', 'clip_grad')
        more = {name: wrapper[name] for name in names if wrapper.get(name)}
        return dict(optimizer=optimizer, **more)


def find_network(option: str, name: str) -> Network:
    """Find a network by a path or ``package::path`` of a config, or by MMPretrain's name.

    Args:
        option (str): The option that gives the name, for messages.
        name (str): Such as ``resnet18``, ``mobilenet_v3_small``, ``resnet18_8xb32_in1k``,
            ``mmpretrain::resnet/resnet18_8xb32_in1k.py`` or ``mine.py``.

    Raises:
        ConfigError: If there is no such network, or its config is not a classifier's.
    """
    if '::' in name or name.endswith('.py') or Path(name).is_file():
        config, shown, weights = read_config_file(name), name, None
        for known in _published().values():
            if Path(known.config).samefile(config.filename):
                weights = known.weights
    else:
        found = _named(option, name)
        config, shown, weights = read_config_file(found.config), found.name, found.weights
    if 'architecture' in config.model:
        raise ConfigError(
            f'{option} {name}: its model is a distillation; give the config of a classifier'
        )
    return Network(shown, config, weights, _classes(option, name, config.model))


def classes_of(network: Network, checkpoint: str) -> int:
    """Return how many classes the weights of a checkpoint have.

    Raises:
        ConfigError: If the checkpoint cannot be read, or does not fit in anything else.
    """
    state = part_of_state(checkpoint)
    built = MODELS.build(network.model(network.classes))
    names = [
        name
        for name, value in built.state_dict().items()
        if name.endswith('weight') and value.shape[:1] == (network.classes,)
    ]
    # Of a bare network the names are its own, without that of the part.
    last = [n for n in (names[-1], names[-1].partition('.')[2]) if n in state] if names else []
    classes = len(state[last[0]]) if last else network.classes
    if classes != network.classes:
        built = MODELS.build(network.model(classes))
    fit_weights(built, state, checkpoint, 'teacher', network.name)
    return classes


def _classes(option: str, name: str, model: Any) -> int:
    found: list[int] = []
    map_dicts(lambda part: found.append(part.get('num_classes')) or part, model.to_dict())
    found = [n for n in found if isinstance(n, int)]
    of_head = (model.get('head') or {}).get('num_classes')
    if of_head is None and len(set(found)) != 1:
        raise ConfigError(
            f'{option} {name}: its config does not say how many classes it has (head.num_classes); '
            f'give the config of a classifier'
        )
    return of_head or found[0]


def _published() -> dict:
    """Return MMPretrain's classifiers by name."""
    ModelHub._register_mmpretrain_models()
    return {
        name: model
        for name, model in ModelHub._models_dict.items()
        if model.config and any('Image Classification' in str(r.task) for r in model.results or ())
    }


def _named(option: str, name: str) -> Any:
    """Return MMPretrain's model of a name, or the first one of a short name."""
    known = _published()
    wanted = _letters(name)
    whole = [n for n in known if _letters(n) == wanted]
    short = [n for n in known if _letters(n.partition('_')[0]) == wanted]
    if not whole + short:
        shorts = {n.partition('_')[0]: n for n in known}
        near = near_names(name.replace('_', '-').lower(), shorts)
        raise ConfigError(f'{option} {name}: MMPretrain has no classifier of this name; {near}')
    # Of a short name those for ImageNet's images as they are, with weights, first.
    ranks = {n: (not n.endswith('_in1k'), known[n].weights is None, len(n)) for n in short}
    return known[whole[0] if whole else min(short, key=ranks.get)]


def _letters(name: str) -> str:
    return re.sub('[^a-z0-9.]', '', name.lower())
