"""The distillation literature's parameter names, and classifiers that can read them.

The names are those of `RepDistiller <https://github.com/HobbitLong/RepDistiller>`_ and mdistiller.
"""

import re

import torch.nn as nn
from torch.nn.modules.module import register_module_module_registration_hook

from .cifar_resnet import CIFARResNet
from .cifar_vgg import CIFARVGG
from .cifar_wrn import CIFARWideResNet

# For each kind of network: names that all its checkpoints have, and how names change.
_RESNETS = (
    {'conv1.weight', 'fc.weight'},
    {
        r'(conv1|bn1|layer[123])\.': r'backbone.\1.',
        r'block([123])\.layer\.(\d+)\.convShortcut\.': r'backbone.layer\1.\2.downsample.',
        r'block([123])\.layer\.': r'backbone.layer\1.',
        r'fc\.': 'head.fc.',
    },
)
_VGGS = (
    {'block0.0.weight', 'classifier.weight'},
    {
        r'block([0-4])\.(\d+)\.': lambda match: _vgg_name(int(match[1]), int(match[2])),
        r'classifier\.': 'head.fc.',
    },
)


def _vgg_name(stage: int, index: int) -> str:
    """Name a layer of a stage, a flat list there: convolution, BatchNorm, ReLU, convolution, …."""
    part = f'layer{stage}' if stage else 'stem'
    return f'backbone.{part}.{index // 3}.{("conv", "bn", "relu")[index % 3]}.'


def map_literature_keys(state_dict: dict, prefix: str = '', *_) -> dict:
    """Rename the literature's parameter names to MMPretrain's, in place.

    It knows ResNets, wide ResNets and VGGs with BatchNorm, and leaves a state dict alone that
    already has a backbone. ``prefix`` is that of the classifier's own names; further arguments let
    the classifier use this as a load-state-dict pre-hook.
    """
    for signs, renamings in (_RESNETS, _VGGS):
        if {prefix + name for name in signs} <= state_dict.keys():
            for key in [key for key in state_dict if key.startswith(prefix)]:
                state_dict[prefix + _rename(key[len(prefix) :], renamings)] = state_dict.pop(key)
    return state_dict


def _rename(name: str, renamings: dict) -> str:
    for pattern, replacement in renamings.items():
        name, changed = re.subn(f'^{pattern}', replacement, name)
        if changed:
            break
    return name


def _read_literature_keys(classifier: nn.Module, name: str, backbone: nn.Module):
    """Teach a classifier that receives one of these backbones to read such checkpoints."""
    if name == 'backbone' and isinstance(backbone, (CIFARResNet, CIFARVGG, CIFARWideResNet)):
        classifier._register_load_state_dict_pre_hook(map_literature_keys)


# Only the classifier, which is MMPretrain's, sees all keys of a checkpoint. So it gets the hook
# when it gets the backbone.
register_module_module_registration_hook(_read_literature_keys)
