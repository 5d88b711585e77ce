import pytest
import torch
from mmengine.runner import load_checkpoint
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, classifier_cfg
from torch.utils.flop_counter import FlopCounterMode

from lakd_mm.models.backbones import CIFARResNet, map_literature_keys

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


def network_cfg(depth, widen_factor, num_classes):
    backbone = dict(type='mmrazor.CIFARResNet', depth=depth, widen_factor=widen_factor)
    return classifier_cfg(backbone, num_classes, in_channels=64 * widen_factor)


@pytest.mark.parametrize('depth, widen_factor, params10, params100, mmacs', NETWORKS)
def test_counts_and_shapes(depth, widen_factor, params10, params100, mmacs):
    for num_classes, expected in ((10, params10), (100, params100)):
        network = MODELS.build(network_cfg(depth, widen_factor, num_classes)).eval()
        assert sum(p.numel() for p in network.parameters()) == expected
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    assert round(counter.get_total_flops() / 2e6, 2) == mmacs

    network.backbone.out_indices = (0, 1, 2)
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, 32, 32))
    assert tuple(tuple(m.shape[1:]) for m in maps) == (NARROW if widen_factor == 1 else WIDE)
    stem = network.backbone.conv1.out_channels
    assert stem == (16 if widen_factor == 1 else 32)


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


def literature_state(depth, num_classes):
    """A state dict with the literature's names and values that tell parameters apart."""
    network = MODELS.build(cifar_resnet_cfg(depth, num_classes))
    state = {}
    for i, (key, value) in enumerate(network.state_dict().items()):
        name = key.replace('backbone.', '').replace('head.', '')
        state[name] = torch.full_like(value, i)
    return state


@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(state_dict=s)])
def test_reads_the_literatures_checkpoints(tmp_path, wrap):
    state = literature_state(14, 10)
    assert {'conv1.weight', 'layer3.1.bn2.running_var', 'layer2.0.downsample.0.weight'} <= set(
        state
    )
    torch.save(wrap(state), tmp_path / 'published.pt')
    network = MODELS.build(cifar_resnet_cfg(14, 10))
    load_checkpoint(network, str(tmp_path / 'published.pt'), strict=True)
    for i, value in enumerate(network.state_dict().values()):
        assert (value == i).all()
    network = MODELS.build(cifar_resnet_cfg(14, 10))
    network.load_state_dict(state)
    assert (network.head.fc.bias == len(state) - 1).all()


def test_its_own_and_foreign_names_are_left_alone():
    own = MODELS.build(cifar_resnet_cfg(8)).state_dict()
    assert map_literature_keys(dict(own)).keys() == own.keys()
    backbone_only = {'conv1.weight': 0, 'bn1.weight': 1}
    assert map_literature_keys(dict(backbone_only)) == backbone_only
    mapped = map_literature_keys({'conv1.weight': 0, 'fc.weight': 1, 'extra.weight': 2})
    assert mapped == {'backbone.conv1.weight': 0, 'head.fc.weight': 1, 'extra.weight': 2}


@pytest.mark.parametrize('kwargs', [dict(depth=18), dict(depth=20, widen_factor=2)])
def test_networks_that_do_not_exist(kwargs):
    with pytest.raises(ValueError, match='CIFARResNet'):
        CIFARResNet(**kwargs)
