"""MobileNetV2, the ShuffleNets and ResNet-50 of the literature's heterogeneous pairs."""

import literature_networks as literature
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS
from networks import classifier_cfg

from lakd_mm.models import CIFARMobileNetV2, CIFARShuffleNetV1, CIFARShuffleNetV2
from lakd_mm.models.backbones import map_literature_keys
from lakd_mm.models.places.taps import pre_relu_record, stage_blocks, stage_end_taps

CFGS = {
    'mobilenet': classifier_cfg(dict(type='mmrazor.CIFARMobileNetV2'), 100, 1280),
    'shufflenet_v1': classifier_cfg(dict(type='mmrazor.CIFARShuffleNetV1'), 100, 960),
    'shufflenet_v2': classifier_cfg(dict(type='mmrazor.CIFARShuffleNetV2'), 100, 1024),
    'resnet50': classifier_cfg(
        dict(type='mmpretrain.ResNet_CIFAR', depth=50, zero_init_residual=False), 100, 2048
    ),
}
# Parameters with 10 and 100 classes, 10^6 conv and fc MACs with 100, shapes of the stages.
NETWORKS = {
    'mobilenet': (
        *(697_546, 812_836, 6.52),
        ((12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2), (1280, 2, 2)),
    ),
    'shufflenet_v1': (
        *(862_768, 949_258, 38.69),
        ((240, 16, 16), (480, 8, 8), (960, 4, 4)),
    ),
    'shufflenet_v2': (
        *(1_263_278, 1_355_528, 44.5),
        ((116, 16, 16), (232, 8, 8), (464, 4, 4), (1024, 4, 4)),
    ),
    'resnet50': (
        *(23_520_842, 23_705_252, 1298.01),
        ((256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)),
    ),
}
ENDS = {
    'mobilenet': [3, 6, 13, 17],
    'shufflenet_v1': [4, 12, 16],
    'shufflenet_v2': [4, 12, 16],
    'resnet50': [3, 7, 13, 16],
}


def made_up(name):
    return getattr(literature, f'{name}_state')()


@pytest.mark.parametrize('name', NETWORKS)
def test_counts_and_shapes(check_network, name):
    check_network(CFGS[name], *NETWORKS[name])


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=[pytest.mark.slow] if n == 'resnet50' else []) for n in NETWORKS],
)
def test_reads_the_literatures_checkpoints_and_equals_its_network(tmp_path, images, name):
    """Logits, stages, and what methods that tap before the ReLU compare."""
    state, images = made_up(name), images[:1, :, :16, :16]
    network = MODELS.build(CFGS[name]).double().eval()
    ours = network.state_dict()
    assert map_literature_keys(dict(state)).keys() == ours.keys()
    prefixed = {f'student.{key}': value for key, value in state.items()}
    assert map_literature_keys(prefixed, 'student.').keys() == {f'student.{key}' for key in ours}
    torch.save(dict(state_dict=dict(state)), tmp_path / 'published.pth')
    load_checkpoint(network, str(tmp_path / 'published.pth'), strict=True)

    ends = [blocks[-1] for blocks in stage_blocks(network)]
    assert stage_end_taps(network) == ENDS[name]
    places = [pre_relu_record(network, tap) for tap in ends]
    recorders = RecorderManager(
        {
            **{f'{i}': dict(type='mmrazor.ModuleOutputs', source=e) for i, e in enumerate(ends)},
            **{f'pre{i}': recorder for i, (recorder, _, _) in enumerate(places)},
        }
    )
    recorders.initialize(network)
    for module in network.modules():
        if hasattr(module, 'inplace'):
            module.inplace = False  # as a distiller does
    with recorders, torch.no_grad():
        logits = network(images)
    stages, signed, expected = getattr(literature, f'{name}_forward')(state, images)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    for i, (_, record, _) in enumerate(places):
        found = recorders.get_recorder(f'{i}').get_record_data()
        torch.testing.assert_close(found, stages[i], rtol=1e-9, atol=1e-9)
        before = recorders.get_recorder(f'pre{i}').get_record_data(**record)
        if name == 'shufflenet_v2':
            signed[i] = literature.shuffle(signed[i], 2)
        torch.testing.assert_close(before, signed[i], rtol=1e-9, atol=1e-9)
        assert (signed[i] < 0).any()


def test_batchnorms_in_front_of_the_relus():
    """OFD reads a teacher's margins from them; ShuffleNetV2 has none that spans the block."""
    for name, norm in (
        ('mobilenet', 'backbone.layer1.2.project.bn'),
        ('shufflenet_v1', 'backbone.layer1.3.bn3'),
        ('shufflenet_v2', None),
        ('resnet50', 'backbone.layer1.2.bn3'),
    ):
        network = MODELS.build(CFGS[name])
        assert pre_relu_record(network, stage_blocks(network)[0][-1])[2] == norm


def test_initial_weights(build):
    mobilenet = build(CFGS['mobilenet']).backbone
    depthwise = mobilenet.layer4[3].depthwise.conv.weight
    assert depthwise.std().item() == pytest.approx((2 / (9 * 480)) ** 0.5, rel=0.05)
    for name in ('shufflenet_v1', 'shufflenet_v2'):
        network = build(CFGS[name]).backbone
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5  # torch's own
                assert 0.8 * bound < module.weight.abs().max() <= bound
            elif isinstance(module, torch.nn.BatchNorm2d):
                assert (module.weight == 1).all() and (module.bias == 0).all()


@pytest.mark.parametrize('cls', [CIFARMobileNetV2, CIFARShuffleNetV1, CIFARShuffleNetV2])
def test_stages_that_do_not_exist(cls):
    last = {CIFARMobileNetV2: 4, CIFARShuffleNetV1: 2, CIFARShuffleNetV2: 3}[cls]
    message = rf'{cls.__name__}: out_indices=\({last + 1},\) must be a list .* 0 to {last}'
    with pytest.raises(ValueError, match=message):
        cls(out_indices=(last + 1,))
