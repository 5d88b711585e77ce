"""Layers whose backward corrupts memory in channels-last format are kept out of it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lakd_mm.models.algorithms.memory_format import keep_contiguous

# Without the hook and the weight's format this ends in a segmentation fault.
BACKWARDS = """
import torch
from torch import nn
from lakd_mm.models.algorithms.memory_format import keep_contiguous
network = nn.Sequential(nn.{layer})
network.to(memory_format=torch.channels_last)
print(keep_contiguous(network))
for _ in range(3):
    images = torch.rand({shape}).contiguous(memory_format=torch.channels_last)
    network(images).square().sum().backward()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    'layer, shape',
    [
        ('Conv2d(3, 32, 1, stride=2)', (16, 3, 224, 224)),
        ('Conv2d(8, 32, 1, stride=2)', (16, 8, 224, 224)),
        ('GroupNorm(1, 64)', (2, 64, 16, 16)),
    ],
)
def test_the_backward_does_not_end_the_process(layer, shape):
    script = BACKWARDS.format(layer=layer, shape=shape)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['0']"


def test_only_such_layers_are_kept_out():
    network = nn.Sequential(
        nn.Conv2d(3, 15, 1, stride=2),
        nn.Conv2d(15, 16, 1),
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(8, 8, 3, stride=2),
    ).double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.double)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    assert keep_contiguous(network) == keep_contiguous(network) == ['0']
    assert network[0].weight.stride() == (3, 1, 1, 1)
    assert [len(layer._forward_pre_hooks) for layer in network] == [1, 0, 0, 0]
    found = network(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, rtol=1e-12)


def test_group_norm_is_kept_out_where_its_input_needs_no_gradient():
    layer = nn.GroupNorm(2, 8)
    assert keep_contiguous(layer) == ['']
    formats = []
    layer.register_forward_pre_hook(lambda m, args: formats.append(args[0].is_contiguous()))
    images = torch.rand(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    layer(images).sum().backward()
    layer(images.requires_grad_()).sum().backward()
    assert formats == [True, False]
    assert keep_contiguous(nn.GroupNorm(2, 8, affine=False)) == []
