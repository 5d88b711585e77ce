"""The distillation literature's parameter names, and classifiers that can read them.

The names are those of `RepDistiller <https://github.com/HobbitLong/RepDistiller>`_ and mdistiller.
"""

import re

import torch.nn as nn
from mmpretrain.models.backbones import ResNet_CIFAR
from torch.nn.modules.module import register_module_module_registration_hook

from .cifar_mobilenet import CIFARMobileNetV2
from .cifar_shufflenet import CIFARShuffleNetV1, CIFARShuffleNetV2
from .cifar_vgg import CIFARVGG
from .cifar_wrn import CIFARWideResNet

_BACKBONES = (
    ResNet_CIFAR,
    CIFARMobileNetV2,
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
    CIFARVGG,
    CIFARWideResNet,
)


def _vgg_name(match: re.Match) -> str:
    """Name a layer of a stage, a flat list there: convolution, BatchNorm, ReLU, convolution, …."""
    stage, index = map(int, match.groups())
    part = f'layer{stage}' if stage else 'stem'
    return f'backbone.{part}.{index // 3}.{("conv", "bn", "relu")[index % 3]}.'


def _mobilenet_name(match: re.Match) -> str:
    """Name a layer of a block; groups of blocks are by width there, by resolution here."""
    group, block, index = map(int, match.groups())
    stage, before = ((1, 0), (1, 1), (2, 0), (3, 0), (3, 4), (4, 0), (4, 3))[group]
    part = ('expand', 'depthwise', 'project')[index // 3]
    return f'backbone.layer{stage}.{before + block}.{part}.{("conv", "bn")[index % 3]}.'


def _shufflenet_name(match: re.Match) -> str:
    """Name a layer of a block of ShuffleNetV2, numbered there through both branches."""
    stage, block, kind, index = match[1], match[2], match[3], int(match[4])
    if block == '0':
        branch, place = (1, index - 1) if index < 3 else (2, index - 3)
    else:
        branch, place = 2, index - 1
    return f'backbone.layer{stage}.{block}.branch{branch}.{place}.{kind}.'


# For each kind of network: names that all its checkpoints have, and how names change.
_RESNETS = {
    r'(conv1|bn1|layer[1-4])\.': r'backbone.\1.',
    r'block([123])\.layer\.(\d+)\.convShortcut\.': r'backbone.layer\1.\2.downsample.',
    r'block([123])\.layer\.': r'backbone.layer\1.',
    r'(fc|linear)\.': 'head.fc.',
}
_KINDS = (
    ({'conv1.weight', 'fc.weight'}, _RESNETS),
    (
        {'block0.0.weight', 'classifier.weight'},
        {r'block([0-4])\.(\d+)\.': _vgg_name, r'classifier\.': 'head.fc.'},
    ),
    (
        {'conv1.0.weight', 'classifier.0.weight'},
        {
            r'conv1\.0\.': 'backbone.stem.conv.',
            r'conv1\.1\.': 'backbone.stem.bn.',
            r'blocks\.([0-6])\.(\d)\.conv\.([0-7])\.': _mobilenet_name,
            r'conv2\.0\.': 'backbone.conv2.conv.',
            r'conv2\.1\.': 'backbone.conv2.bn.',
            r'classifier\.0\.': 'head.fc.',
        },
    ),
    # ShuffleNetV2, ahead of the next kind, whose names it has too.
    (
        {'conv1.weight', 'conv2.weight', 'linear.weight'},
        {
            r'(conv|bn)2\.': r'backbone.conv2.\1.',
            r'layer([123])\.(\d)\.(conv|bn)([1-5])\.': _shufflenet_name,
            **_RESNETS,
        },
    ),
    # ResNets of four stages, and ShuffleNet.
    (
        {'conv1.weight', 'linear.weight'},
        {r'layer([1-4])\.(\d+)\.shortcut\.': r'backbone.layer\1.\2.downsample.', **_RESNETS},
    ),
)


def map_literature_keys(state_dict: dict, prefix: str = '', *_) -> dict:
    """Rename the literature's parameter names to MMPretrain's, in place.

    It knows ResNets, wide ResNets, VGGs with BatchNorm, MobileNetV2 and ShuffleNets, and leaves a
    state dict alone that already has a backbone. ``prefix`` is that of the classifier's own names;
    further arguments let the classifier use this as a load-state-dict pre-hook.
    """
    for signs, renamings in _KINDS:
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
    if name == 'backbone' and isinstance(backbone, _BACKBONES):
        classifier._register_load_state_dict_pre_hook(map_literature_keys)


# Only the classifier, which is MMPretrain's, sees all keys of a checkpoint. So it gets the hook
# when it gets the backbone.
register_module_module_registration_hook(_read_literature_keys)
