"""What the backbones of plain convolutions share."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn as nn


def conv_block(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    relu: bool = True,
) -> nn.Sequential:
    """Make a convolution that keeps the size but for its stride, BatchNorm and ReLU.

    Its members are ``conv``, ``bn`` and ``relu``, as taps before the ReLU need them.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int): An odd number. Defaults to 3.
        stride (int): Defaults to 1.
        groups (int): Groups of the convolution. Defaults to 1.
        bias (bool): Whether the convolution has a bias. Defaults to False.
        relu (bool): Whether a ReLU ends it. Defaults to True.

    Shape:
        (N, C, H, W) to (N, C', H/stride, W/stride).
    """
    padding = kernel_size // 2
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias
    )
    parts = OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels))
    if relu:
        parts['relu'] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def run_stages(
    x: torch.Tensor, stages: Sequence[nn.Module], out_indices: Sequence[int]
) -> tuple[torch.Tensor, ...]:
    """Run stages one after another, and return the outputs of those that are named."""
    outputs = []
    for stage in stages:
        x = stage(x)
        outputs.append(x)
    return tuple(output for i, output in enumerate(outputs) if i in out_indices)
