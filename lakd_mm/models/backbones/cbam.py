"""Convolutional block attention (CBAM), and ResNets that have it in every block."""

import torch
import torch.nn as nn
import torch.utils.checkpoint as cp
from mmpretrain.models.backbones import ResNet, ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .checks import refuse_style
from .cifar_resnet import CIFARResNet


class ChannelGate(nn.Module):
    """Weigh channels by a small network that runs on their means and on their maxima.

    Args:
        channels (int): Channels of the feature.
        reduction (int): Channels for each hidden unit; there is at least one unit. Defaults to 16.

    Shape:
        (N, C, H, W) to the weights (N, C, 1, 1), each between 0 and 1.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        if not isinstance(reduction, int) or reduction < 1:
            raise ConfigError(f'CBAM: reduction={reduction!r} is not 1, 2, 3, …')
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.zeros_(layer.bias)  # as in the authors' code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weight of each channel."""
        weights = self.mlp(x.mean((2, 3))) + self.mlp(x.flatten(2).max(2).values)
        return weights.sigmoid()[..., None, None]


class SpatialGate(nn.Module):
    """Weigh positions by a 7x7 convolution over the maximum and the mean of the channels.

    Shape:
        (N, C, H, W) to the weights (N, 1, H, W), each between 0 and 1.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        self.start_flat()

    def start_flat(self):
        """Give all positions the weight one half, as at the start of training."""
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weight of each position."""
        pooled = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), dim=1)
        return self.bn(self.conv(pooled)).sigmoid()


class CBAM(nn.Module):
    """Attention over channels, then over positions.

    From `CBAM: Convolutional Block Attention Module <https://arxiv.org/abs/1807.06521>`_ (ECCV
    2018), with the biases, the BatchNorm and the initial weights of its authors' code.

    Args:
        channels (int): Channels of the feature.
        reduction (int): Channels for each hidden unit of the channels' gate. Defaults to 16.

    Shape:
        (N, C, H, W) to the same.

    Raises:
        ConfigError: If ``reduction`` is not a positive whole number.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel_gate = ChannelGate(channels, reduction)
        self.spatial_gate = SpatialGate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels and positions of a feature."""
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)


class _CBAMBlock:
    """Add attention to the residual branch of MMPretrain's blocks, just before the sum."""

    def __init__(self, in_channels: int, out_channels: int, reduction: int, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)
        self.cbam = CBAM(out_channels, reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        if self.with_cp and x.requires_grad:
            return self.relu(cp.checkpoint(self._add_branch, x, use_reentrant=False))
        return self.relu(self._add_branch(x))

    def _add_branch(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        if isinstance(self, Bottleneck):
            out = self.norm3(self.conv3(self.relu(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.drop_path(self.cbam(out)) + shortcut


class CBAMBasicBlock(_CBAMBlock, BasicBlock):
    """MMPretrain's ``BasicBlock`` with attention, whose parameters are named ``cbam``."""


class CBAMBottleneck(_CBAMBlock, Bottleneck):
    """MMPretrain's ``Bottleneck`` with attention, whose parameters are named ``cbam``."""


class _WithCBAM:
    """Build a ResNet from blocks with attention, see :class:`CBAMResNet`."""

    def __init__(self, depth: int, reduction: int = 16, **kwargs):
        self.reduction = reduction  # before the blocks are made
        super().__init__(depth, **kwargs)

    def make_res_layer(self, block: type, **kwargs) -> nn.Module:
        """Make a stage."""
        if not issubclass(block, Bottleneck):
            refuse_style(self, kwargs)
        block = CBAMBottleneck if issubclass(block, Bottleneck) else CBAMBasicBlock
        return super().make_res_layer(block=block, reduction=self.reduction, **kwargs)

    def init_weights(self):
        """Initialise the weights. Gates of positions start flat, whatever BatchNorm starts with."""
        super().init_weights()
        if 'Pretrained' not in str(self.init_cfg):
            for module in self.modules():
                if isinstance(module, SpatialGate):
                    module.start_flat()


@MODELS.register_module()
class CBAMResNet(_WithCBAM, ResNet):
    """MMPretrain's ``ResNet`` with :class:`CBAM` in every block.

    CBAM is on the residual branch, just before the sum. A checkpoint of the network without
    attention loads with ``load_from`` and ``load_strict=False``, which set all weights but the
    gates' (``layer1.0.cbam.…``).

    Args:
        depth (int): Depth, as for the network without attention.
        reduction (int): Channels for each hidden unit of the channels' gates. Defaults to 16.
        **kwargs: Further arguments of the network without attention.

    Raises:
        ConfigError: If ``reduction`` is not a positive whole number, or ``style`` would be ignored.
    """


@MODELS.register_module()
class CBAMResNet_CIFAR(_WithCBAM, ResNet_CIFAR):
    """MMPretrain's ``ResNet_CIFAR`` with :class:`CBAM` in every block.

    Arguments and checkpoints: see :class:`CBAMResNet`.
    """


@MODELS.register_module()
class CBAMCIFARResNet(_WithCBAM, CIFARResNet):
    """:class:`CIFARResNet` with :class:`CBAM` in every block.

    Arguments and checkpoints: see :class:`CBAMResNet`.
    """
