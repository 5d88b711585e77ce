"""The CIFAR ShuffleNets of the distillation literature."""

from collections.abc import Sequence
from typing import Optional, Union

import torch
import torch.nn as nn
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.backbones.shufflenet_v2 import InvertedResidual
from mmpretrain.models.utils import channel_shuffle
from mmrazor.registry import MODELS

from .checks import check_out_indices
from .conv_block import conv_block, run_stages

_STEM = 24
_BLOCKS = (4, 8, 4)
# Layers as torch makes them, which the literature leaves as they are.
_TORCH_INIT = dict(
    type='Kaiming',
    layer='Conv2d',
    a=5**0.5,
    mode='fan_in',
    nonlinearity='leaky_relu',
    distribution='uniform',
)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolution, joined by their input and a ReLU.

    Channels are shuffled between the first two. With a stride of 2 the pooled input is appended,
    else the input is added. The first convolution is not grouped where it follows the stem. The
    one ``relu`` runs three times; its last input is the feature before the block's ReLU.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): 1 or 2.
        groups (int): Groups of the 1x1 convolutions. Defaults to 3.

    Shape:
        (N, C, H, W) to (N, C', H/stride, W/stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int = 3):
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride, padding=1) if stride == 2 else None
        branch = out_channels - in_channels if stride == 2 else out_channels
        middle = branch // 4
        self.groups = 1 if in_channels == _STEM else groups
        self.conv1 = nn.Conv2d(in_channels, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, branch, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        out = channel_shuffle(self.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        return self.relu(x + out if self.pool is None else torch.cat((out, self.pool(x)), dim=1))


class SplitUnit(InvertedResidual):
    """MMPretrain's block of ShuffleNetV2, with one ``relu`` at its end.

    That takes the place of the ReLUs that end its branches, so that the feature before the ReLU
    is in one place. The half that passes by is another block's output, which a ReLU leaves alone.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): 1 or 2.

    Shape:
        (N, C, H, W) to (N, C', H/stride, W/stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(in_channels, out_channels, stride)
        for branch in self.children():
            branch[-1].with_activation = False
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        return self.relu(super().forward(x))


class _CIFARShuffleNet(BaseBackbone):
    """A 1x1 convolution as stem, and three stages of 4, 8 and 4 blocks.

    Args:
        unit (type): The class of the blocks.
        widths (Sequence[int]): Channels of the stages.
        in_channels (int): Channels of an image.
        init_cfg (dict | List[dict], optional): Initialization.
    """

    def __init__(self, unit: type, widths: Sequence[int], in_channels: int, init_cfg):
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(in_channels, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU(inplace=True)
        channels = _STEM
        for number, (width, count) in enumerate(zip(widths, _BLOCKS), 1):
            blocks = [unit(channels, width, 2), *(unit(width, width, 1) for _ in range(count - 1))]
            self.add_module(f'layer{number}', nn.Sequential(*blocks))
            channels = width

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what ``out_indices`` names."""
        stages = [module for name, module in self.named_children() if name[:-1] == 'layer']
        stages += [self.conv2] if hasattr(self, 'conv2') else []
        return run_stages(self.relu(self.bn1(self.conv1(x))), stages, self.out_indices)


@MODELS.register_module()
class CIFARShuffleNetV1(_CIFARShuffleNet):
    """ShuffleNet (1x, 3 groups) for 32x32 images.

    The network of `ShuffleNet <https://arxiv.org/abs/1707.01083>`_ as the distillation literature
    uses it: a 1x1 convolution as stem, without a max-pooling behind it. Otherwise than in
    MMPretrain's ``ShuffleNetV1``, channels are shuffled in front of the depthwise convolution and a
    quarter of the branch's channels is inside a block. A classifier with this backbone also reads
    checkpoints with the literature's names (``layer1.0.conv1``, ``linear``).

    Args:
        in_channels (int): Channels of an image. Defaults to 3.
        out_indices (Sequence[int]): Stages to return, from 0, 1, 2. Defaults to ``(2, )``.
        init_cfg (dict | List[dict], optional): Defaults to the literature's, torch's own.

    Shape:
        Input (N, C, H, W); stages (N, 240, H/2, W/2), (N, 480, H/4, W/4), (N, 960, H/8, W/8).

    Raises:
        ConfigError: If a stage does not exist.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        init_cfg: Optional[Union[dict, list[dict]]] = _TORCH_INIT,
    ):
        super().__init__(ShuffleUnit, (240, 480, 960), in_channels, init_cfg)
        self.out_indices = check_out_indices(self, out_indices, 3)


@MODELS.register_module()
class CIFARShuffleNetV2(_CIFARShuffleNet):
    """ShuffleNetV2 (1x) for 32x32 images.

    The network of `ShuffleNet V2 <https://arxiv.org/abs/1807.11164>`_ as the distillation
    literature uses it: a 1x1 convolution as stem, without a max-pooling behind it. Blocks are
    MMPretrain's. The 1x1 convolution ``conv2``, BatchNorm and ReLU follow the last stage. A
    classifier with this backbone also reads checkpoints with the literature's names
    (``layer1.0.conv1``, ``conv2``, ``linear``).

    Args:
        in_channels (int): Channels of an image. Defaults to 3.
        out_indices (Sequence[int]): What to return: stages 0 to 2, and 3 for ``conv2``, which the
            pooling and class activation maps need. Defaults to ``(3, )``.
        init_cfg (dict | List[dict], optional): Defaults to the literature's, torch's own.

    Shape:
        Input (N, C, H, W); stages (N, 116, H/2, W/2), (N, 232, H/4, W/4), (N, 464, H/8, W/8);
        ``conv2`` (N, 1024, H/8, W/8).

    Raises:
        ConfigError: If a stage does not exist.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        init_cfg: Optional[Union[dict, list[dict]]] = _TORCH_INIT,
    ):
        super().__init__(SplitUnit, (116, 232, 464), in_channels, init_cfg)
        self.out_indices = check_out_indices(self, out_indices, 4)
        self.conv2 = conv_block(464, 1024, 1)
