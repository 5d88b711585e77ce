"""The CIFAR MobileNetV2 of the distillation literature."""

from collections.abc import Sequence
from typing import Optional, Union

import torch
import torch.nn as nn
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmrazor.registry import MODELS

from .checks import check_out_indices
from .conv_block import conv_block, run_stages


class LinearBottleneck(nn.Module):
    """Expansion, depthwise convolution and projection without ReLU, around which a shortcut goes.

    The output is a signed sum, or the projection's BatchNorm where size or width change. No ReLU
    follows, so it is also what methods that tap before the ReLU take.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride of the depthwise convolution.
        expand_ratio (int): Channels inside for each of the input.

    Shape:
        (N, C, H, W) to (N, C', H/stride, W/stride).
    """

    linear_output = True

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int):
        super().__init__()
        hidden = in_channels * expand_ratio
        self.expand = conv_block(in_channels, hidden, 1)
        self.depthwise = conv_block(hidden, hidden, 3, stride, groups=hidden)
        self.project = conv_block(hidden, out_channels, 1, relu=False)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


@MODELS.register_module()
class CIFARMobileNetV2(BaseBackbone):
    """MobileNetV2 of half width for 32x32 images.

    The network of `MobileNetV2 <https://arxiv.org/abs/1801.04381>`_ as the distillation literature
    uses it (T = 6, width 0.5): ReLU in place of ReLU6, widths not rounded to multiples of 8, an
    expansion (of 1) in the first block too, and a stride of 2 in the stem and three stages.
    MMPretrain's ``MobileNetV2`` differs in each of these. A classifier with this backbone also
    reads checkpoints with the literature's names (``blocks.1.0.conv.0``, ``classifier.0``).

    A stage is what has one resolution, 3, 3, 7 and 4 blocks; its end is where the literature taps.
    The 1x1 convolution ``conv2``, BatchNorm and ReLU follow the last stage.

    Args:
        in_channels (int): Channels of an image. Defaults to 3.
        out_indices (Sequence[int]): What to return: stages 0 to 3, and 4 for ``conv2``, which the
            pooling and class activation maps need. Defaults to ``(4, )``.
        init_cfg (dict | List[dict], optional): Defaults to the literature's: convolutions normal
            by their fan-out, BatchNorm with weight 1 and bias 0.

    Shape:
        Input (N, C, H, W); stages (N, 12, H/2, W/2), (N, 16, H/4, W/4), (N, 48, H/8, W/8),
        (N, 160, H/16, W/16); ``conv2`` (N, 1280, H/16, W/16).

    Raises:
        ConfigError: If a stage does not exist.
    """

    # Of each stage: width, number and first stride of its blocks.
    arch_settings = (
        ((8, 1, 1), (12, 2, 1)),
        ((16, 3, 2),),
        ((32, 4, 2), (48, 3, 1)),
        ((80, 3, 2), (160, 1, 1)),
    )

    def __init__(
        self,
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: Optional[Union[dict, list[dict]]] = [  # noqa: B006
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ):
        super().__init__(init_cfg)
        self.out_indices = check_out_indices(self, out_indices, 5)
        self.stem = conv_block(in_channels, 16, stride=2)
        channels, expand_ratio = 16, 1
        for number, settings in enumerate(self.arch_settings, 1):
            blocks = []
            for width, count, stride in settings:
                for i in range(count):
                    blocks.append(
                        LinearBottleneck(channels, width, 1 if i else stride, expand_ratio)
                    )
                    channels, expand_ratio = width, 6
            self.add_module(f'layer{number}', nn.Sequential(*blocks))
        self.conv2 = conv_block(channels, 1280, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what ``out_indices`` names."""
        stages = (self.layer1, self.layer2, self.layer3, self.layer4, self.conv2)
        return run_stages(self.stem(x), stages, self.out_indices)
