"""The CIFAR wide ResNets of the distillation literature."""

from collections.abc import Sequence
from typing import Optional, Union

import torch
import torch.nn as nn
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .checks import check_out_indices


class PreActivationBlock(nn.Module):
    """Twice BatchNorm, ReLU and 3x3 convolution, with a shortcut around them.

    Where the width changes, the shortcut is a 1x1 convolution of the first ReLU's output. The one
    ``relu`` runs twice; its first input is the BatchNorm of the block's input, which the literature
    calls the feature before the activation ("preact") of the preceding block.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride of the first convolution and of the shortcut. Defaults to 1.

    Shape:
        (N, C, H, W) to (N, C', H/stride, W/stride), a signed sum.
    """

    pre_activation = True

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.downsample = None
        if in_channels != out_channels:
            self.downsample = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        active = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(active)
        return self.conv2(self.relu(self.bn2(self.conv1(active)))) + shortcut


@MODELS.register_module()
class CIFARWideResNet(BaseBackbone):
    """Wide ResNet for 32x32 images: WRN-16-1, -16-2, -40-1, -40-2, -28-4 and the like.

    The network of `Wide Residual Networks <https://arxiv.org/abs/1605.07146>`_ without dropout, as
    the distillation literature uses it. Parameters have the names of MMRazor's ``WideResNet``, so
    either loads the other's checkpoints. A classifier with this backbone also reads checkpoints
    with the literature's names (``block1.layer.0.convShortcut``, ``fc``).

    A block's output is the signed sum, which the literature calls a stage's feature. BatchNorm and
    ReLU (``bn1``, ``relu``) follow the last stage only.

    Args:
        depth (int): 6n + 4 for n blocks in each stage.
        widen_factor (int): Factor of the stages' widths 16, 32 and 64. Defaults to 1.
        in_channels (int): Channels of an image. Defaults to 3.
        out_indices (Sequence[int]): Stages to return, from 0, 1, 2. The last stage is returned
            after the final BatchNorm and ReLU, as the pooling and class activation maps need it;
            the others are the signed sums. Defaults to ``(2, )``.
        init_cfg (dict | List[dict], optional): Defaults to the literature's: convolutions normal
            by their fan-out, BatchNorm with weight 1 and bias 0.

    Shape:
        Input (N, C, H, W); stages (N, 16w, H, W), (N, 32w, H/2, W/2), (N, 64w, H/4, W/4), where
        w is the widen factor.

    Raises:
        ConfigError: If the depth is not 6n + 4, the widen factor is not a positive number, or a
            stage does not exist.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: Optional[Union[dict, list[dict]]] = [  # noqa: B006
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ):
        super().__init__(init_cfg)
        if not isinstance(depth, int) or depth < 10 or depth % 6 != 4:
            raise ConfigError(
                f'CIFARWideResNet: depth={depth!r} is not 6n + 4, such as 10, 16, 22, 28, 40'
            )
        if not isinstance(widen_factor, int) or widen_factor < 1:
            raise ConfigError(f'CIFARWideResNet: widen_factor={widen_factor!r} is not 1, 2, 3, …')
        self.depth, self.widen_factor = depth, widen_factor
        self.out_indices = check_out_indices(self, out_indices, 3)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        channels = 16
        for stage, stride in enumerate((1, 2, 2)):
            width = 16 * widen_factor * 2**stage
            blocks = [PreActivationBlock(channels, width, stride)]
            blocks += [PreActivationBlock(width, width) for _ in range((depth - 4) // 6 - 1)]
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
            channels = width
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the stages named by ``out_indices``."""
        first = self.layer1(self.conv1(x))
        second = self.layer2(first)
        stages = (first, second, self.relu(self.bn1(self.layer3(second))))
        return tuple(stages[i] for i in range(3) if i in self.out_indices)
