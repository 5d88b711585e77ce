import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS
from networks import cifar_vgg_cfg

from lakd_mm.models.algorithms.lakd_distiller import shifted_taps
from lakd_mm.models.backbones import CIFARVGG
from lakd_mm.models.places.taps import resolve_taps, stage_blocks, stage_end_taps
from lakd_mm.models.places.trace import find_stages

SHAPE = (3, 32, 32)


SHAPES = ((128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4))
# depth, parameters with 10 and 100 classes, 10^6 conv and fc MACs with 100 classes
NETWORKS = [
    (8, 3_918_858, 3_965_028, 96.19),
    (11, 9_231_114, 9_277_284, 209.44),
    (13, 9_416_010, 9_462_180, 284.94),
    (16, 14_728_266, 14_774_436, 398.18),
    (19, 20_040_522, 20_086_692, 511.43),
]


@pytest.mark.parametrize('depth, params10, params100, mmacs', NETWORKS)
def test_counts_and_shapes(check_network, depth, params10, params100, mmacs):
    check_network(cifar_vgg_cfg(depth), params10, params100, mmacs, SHAPES)


def test_equals_the_layers_by_hand(trained_like, images):
    """Convolutions, BatchNorm, ReLU; pools in front of stages 1 to 3 only."""
    network = trained_like(cifar_vgg_cfg(11, out_indices=(0, 1, 2, 3)))
    state = network.backbone.state_dict()
    x, expected = images, []
    for stage, num_blocks in enumerate((1, 1, 2, 2, 2)):
        x = F.max_pool2d(x, 2) if stage in (1, 2, 3) else x
        for i in range(num_blocks):
            block = f'layer{stage}.{i}' if stage else f'stem.{i}'
            x = F.conv2d(x, state[f'{block}.conv.weight'], state[f'{block}.conv.bias'], padding=1)
            statistics = (state[f'{block}.bn.running_{k}'] for k in ('mean', 'var'))
            x = F.batch_norm(x, *statistics, state[f'{block}.bn.weight'], state[f'{block}.bn.bias'])
            x = x.relu()
        if stage:
            expected.append(x)
    maps = network.backbone(images)
    for found, by_hand in zip(maps, expected):
        torch.testing.assert_close(found, by_hand, rtol=1e-10, atol=1e-10)
    pooled = expected[-1].mean((2, 3))
    torch.testing.assert_close(network(images), network.head.fc(pooled))


def test_taps():
    for depth, ends, shifted in (
        (8, [1, 2, 3, 4], [1, 2, 3, 4]),
        (13, [2, 4, 6, 8], [1, 3, 5, 8]),
    ):
        network = MODELS.build(cifar_vgg_cfg(depth))
        assert stage_blocks(network)[3][0] == 'backbone.layer4.0'
        assert stage_end_taps(network) == ends
        taps = shifted_taps(network, find_stages(network, SHAPE), SHAPE)
        assert taps == resolve_taps(network, shifted)
        for stage in stage_blocks(network):
            for block in stage:
                children = [name for name, _ in network.get_submodule(block).named_children()]
                assert children == ['conv', 'bn', 'relu']


def test_initial_weights(build):
    network = build(cifar_vgg_cfg(8))
    block = network.backbone.layer2[0]
    assert block.conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert (block.conv.bias == 0).all() and (block.bn.weight == 1).all()


def test_mode_setters_return_the_network():
    network = CIFARVGG(8)
    assert network.eval() is network and network.train() is network


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(depth=12), r'depth=12 does not exist, choose from \[8, 11, 13, 16, 19\]'),
        (dict(depth=8, out_indices=(4,)), r'out_indices=\(4,\) must be a list .* 0 to 3'),
    ],
)
def test_networks_that_do_not_exist(kwargs, message):
    with pytest.raises(ValueError, match=f'CIFARVGG: {message}'):
        CIFARVGG(**kwargs)
