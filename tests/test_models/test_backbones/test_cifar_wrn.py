import pytest
import torch
from mmrazor.registry import MODELS
from networks import cifar_wrn_cfg

from lakd_mm.models.algorithms.lakd_distiller import shifted_taps
from lakd_mm.models.backbones import CIFARWideResNet
from lakd_mm.models.places.taps import resolve_taps, stage_blocks, stage_end_taps
from lakd_mm.models.places.trace import find_stages

SHAPE = (3, 32, 32)


@pytest.mark.parametrize(
    'depth, widen_factor, params10, params100, mmacs',
    # Parameters with 10 and 100 classes, 10^6 conv and fc MACs with 100.
    [
        (16, 1, 175_066, 180_916, 26.66),
        (16, 2, 691_674, 703_284, 101.12),
        (40, 1, 563_930, 569_780, 83.29),
        (40, 2, 2_243_546, 2_255_156, 327.61),
        (22, 4, 4_298_970, 4_322_100, 619.13),
        (28, 4, 5_849_050, 5_872_180, 845.62),
    ],
)
def test_counts_and_shapes(check_network, depth, widen_factor, params10, params100, mmacs):
    w = widen_factor
    shapes = ((16 * w, 32, 32), (32 * w, 16, 16), (64 * w, 8, 8))
    check_network(cifar_wrn_cfg(depth, w), params10, params100, mmacs, shapes)


@pytest.mark.parametrize('depth, widen_factor', [(16, 1), (22, 2)])
def test_equals_mmrazors(trained_like, images, depth, widen_factor):
    """The same weights under the same names give the same features."""
    ours = trained_like(cifar_wrn_cfg(depth, widen_factor)).backbone
    theirs = MODELS.build(
        dict(type='mmrazor.WideResNet', depth=depth, widen_factor=widen_factor)
    ).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(images), theirs.eval()(images), rtol=1e-12, atol=1e-12)


def test_shortcuts_are_convolutions_without_batchnorm():
    for widen_factor, projected in ((1, [2, 3]), (2, [1, 2, 3])):
        backbone = CIFARWideResNet(16, widen_factor)
        for stage in (1, 2, 3):
            first, second = getattr(backbone, f'layer{stage}')
            assert isinstance(first.downsample, torch.nn.Conv2d) == (stage in projected)
            assert second.downsample is None and first.pre_activation
            if stage in projected:
                assert first.downsample.kernel_size == (1, 1) and first.downsample.bias is None


def test_features_before_and_after_the_activation(trained_like, images):
    """Stages are signed sums, but the last; the next ReLU first gets their BatchNorm."""
    backbone = trained_like(cifar_wrn_cfg(16, out_indices=(0, 1, 2))).backbone
    sums, before = [], {}
    for stage in (1, 2, 3):
        getattr(backbone, f'layer{stage}')[-1].register_forward_hook(lambda m, a, o: sums.append(o))
    for name in ('layer2.0.relu', 'layer3.0.relu', 'relu'):
        before[name] = []
        backbone.get_submodule(name).register_forward_pre_hook(
            lambda m, args, name=name: before[name].append(args[0].clone())
        )
    maps = backbone(images)
    assert [len(inputs) for inputs in before.values()] == [2, 2, 1]
    norms = (backbone.layer2[0].bn1, backbone.layer3[0].bn1, backbone.bn1)
    for total, inputs, norm in zip(sums, before.values(), norms):
        assert (total < 0).any()
        assert torch.equal(inputs[0], norm(total))
    assert torch.equal(maps[0], sums[0]) and torch.equal(maps[1], sums[1])
    assert torch.equal(maps[2], backbone.bn1(sums[2]).relu())


def test_statistics_are_updated_once_a_step():
    backbone = CIFARWideResNet(10, out_indices=(0, 1, 2)).train()
    backbone(torch.randn(2, 3, 8, 8))
    counts = {k: int(v) for k, v in backbone.state_dict().items() if 'num_batches' in k}
    assert len(counts) == 7 and set(counts.values()) == {1}


def test_taps_are_the_papers_rule():
    for depth, widen_factor, ends, shifted in (
        (16, 2, [2, 4, 6], [1, 3, 6]),
        (40, 1, [6, 12, 18], [1, 7, 18]),
    ):
        network = MODELS.build(cifar_wrn_cfg(depth, widen_factor))
        assert stage_blocks(network)[1][0] == 'backbone.layer2.0'
        assert stage_end_taps(network) == ends
        taps = shifted_taps(network, find_stages(network, SHAPE), SHAPE)
        assert taps == resolve_taps(network, shifted)


def test_initial_weights(build):
    backbone = build(cifar_wrn_cfg(16, 2)).backbone
    weight = backbone.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms_of(backbone))


def norms_of(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_mode_setters_return_the_network():
    network = CIFARWideResNet(10)
    assert network.eval() is network and network.train() is network


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(depth=20), r'depth=20 is not 6n \+ 4'),
        (dict(depth=4), 'depth=4 is not'),
        (dict(depth='16'), "depth='16' is not"),
        (dict(depth=16, widen_factor=0), 'widen_factor=0'),
        (dict(depth=16, widen_factor=1.5), 'widen_factor=1.5'),
        (dict(depth=16, out_indices=(3,)), r'out_indices=\(3,\) must be a list .* 0 to 2'),
        (dict(depth=16, out_indices=2), 'out_indices=2 must be a list'),
    ],
)
def test_networks_that_do_not_exist(kwargs, message):
    with pytest.raises(ValueError, match=f'CIFARWideResNet: {message}'):
        CIFARWideResNet(**kwargs)
