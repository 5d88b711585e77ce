"""The CIFAR VGGs of the distillation literature."""

from collections.abc import Sequence
from typing import Optional, Union

import torch
import torch.nn as nn
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .checks import check_out_indices
from .conv_block import conv_block

_WIDTHS = (64, 128, 256, 512, 512)


@MODELS.register_module()
class CIFARVGG(BaseBackbone):
    """VGG with BatchNorm for 32x32 images: VGG-8, -11, -13, -16, -19.

    The network of `Very Deep Convolutional Networks <https://arxiv.org/abs/1409.1556>`_ as the
    distillation literature uses it: max-pooling comes before stages 1, 2 and 3 only, so the last
    two stages have the same size; global average pooling and one linear layer replace the three
    linear layers. VGG-8 has one convolution in each stage. The convolutions of width 64 are the
    ``stem``, which the literature does not count as a stage when it taps networks. A classifier
    with this backbone also reads checkpoints with the literature's names (``block0.0``,
    ``classifier``).

    A block is a 3x3 convolution with bias, BatchNorm and ReLU (``conv``, ``bn``, ``relu``). Taps
    count these blocks as they count residual blocks elsewhere.

    Args:
        depth (int): One of 8, 11, 13, 16, 19.
        in_channels (int): Channels of an image. Defaults to 3.
        out_indices (Sequence[int]): Stages to return, from 0 to 3. Defaults to ``(3, )``.
        init_cfg (dict | List[dict], optional): Defaults to the literature's: convolutions normal
            by their fan-out, BatchNorm with weight 1 and bias 0.

    Shape:
        Input (N, C, H, W); stem (N, 64, H, W); stages (N, 128, H/2, W/2), (N, 256, H/4, W/4),
        (N, 512, H/8, W/8) twice.

    Raises:
        ConfigError: If the depth is not one of the literature's, or a stage does not exist.
    """

    arch_settings = {
        8: (1, 1, 1, 1, 1),
        11: (1, 1, 2, 2, 2),
        13: (2, 2, 2, 2, 2),
        16: (2, 2, 3, 3, 3),
        19: (2, 2, 4, 4, 4),
    }

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        init_cfg: Optional[Union[dict, list[dict]]] = [  # noqa: B006
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ):
        super().__init__(init_cfg)
        if depth not in self.arch_settings:
            known = sorted(self.arch_settings)
            raise ConfigError(f'CIFARVGG: depth={depth!r} does not exist, choose from {known}')
        self.depth = depth
        self.out_indices = check_out_indices(self, out_indices, len(_WIDTHS) - 1)
        for stage, (width, num_blocks) in enumerate(zip(_WIDTHS, self.arch_settings[depth])):
            if stage in (1, 2, 3):
                self.add_module(f'pool{stage}', nn.MaxPool2d(2))
            widths = [in_channels, *[width] * num_blocks]
            blocks = [conv_block(*pair, bias=True) for pair in zip(widths, widths[1:])]
            self.add_module(f'layer{stage}' if stage else 'stem', nn.Sequential(*blocks))
            in_channels = width

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the stages named by ``out_indices``."""
        stages = []
        for name, module in self.named_children():
            x = module(x)
            if name.startswith('layer'):
                stages.append(x)
        return tuple(stages[i] for i in range(len(stages)) if i in self.out_indices)
