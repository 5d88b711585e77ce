import pytest
import torch
from networks import cifar_resnet_cfg

from lakd_mm.models.backbones import CIFARResNet

NARROW = ((16, 32, 32), (32, 16, 16), (64, 8, 8))
WIDE = ((64, 32, 32), (128, 16, 16), (256, 8, 8))
# depth, widen factor, parameters with 10 and 100 classes, 10^6 conv and fc MACs with 100 classes
NETWORKS = [
    (8, 1, 78_042, 83_892, 12.51),
    (14, 1, 175_258, 181_108, 26.66),
    (20, 1, 272_474, 278_324, 40.82),
    (32, 1, 466_906, 472_756, 69.13),
    (44, 1, 661_338, 667_188, 97.44),
    (56, 1, 855_770, 861_620, 125.75),
    (110, 1, 1_730_714, 1_736_564, 253.16),
    (8, 4, 1_210_410, 1_233_540, 177.07),
    (32, 4, 7_410_730, 7_433_860, 1083.04),
]


@pytest.mark.parametrize('depth, widen_factor, params10, params100, mmacs', NETWORKS)
def test_counts_and_shapes(check_network, depth, widen_factor, params10, params100, mmacs):
    shapes = NARROW if widen_factor == 1 else WIDE
    cfg = cifar_resnet_cfg(depth, widen_factor=widen_factor)
    check_network(cfg, params10, params100, mmacs, shapes)
    stem = CIFARResNet(depth, widen_factor).conv1
    assert stem.out_channels == (16 if widen_factor == 1 else 32)


def test_shortcuts_are_option_b():
    """1x1 convolution without bias + BatchNorm where stride or width changes, else identity."""
    for widen_factor, projected in ((1, [2, 3]), (4, [1, 2, 3])):
        backbone = CIFARResNet(14, widen_factor=widen_factor)
        for stage in (1, 2, 3):
            first, second = getattr(backbone, f'layer{stage}')
            assert (first.downsample is not None) == (stage in projected)
            assert second.downsample is None
            if stage in projected:
                conv, norm = first.downsample
                assert conv.kernel_size == (1, 1) and conv.bias is None
                assert isinstance(norm, torch.nn.BatchNorm2d)


def test_blocks_do_not_start_as_identity(build):
    network = build(cifar_resnet_cfg(20))
    assert all(
        (module.weight == 1).all()
        for module in network.modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    )


def test_mode_setters_return_the_network():
    network = CIFARResNet(8)
    assert network.eval() is network and network.train() is network


@pytest.mark.parametrize('kwargs', [dict(depth=18), dict(depth=20, widen_factor=2)])
def test_networks_that_do_not_exist(kwargs):
    with pytest.raises(ValueError, match='CIFARResNet'):
        CIFARResNet(**kwargs)
