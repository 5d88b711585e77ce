import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import load_checkpoint, save_checkpoint
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, classifier_cfg

from lakd_mm.engine.onnx_export import export_onnx
from lakd_mm.models.backbones import CBAM
from lakd_mm.models.places.taps import pre_relu_record, resolve_taps, stage_end_taps
from lakd_mm.models.teachers import LeanTeacher, fold_batchnorms

# Type, depth, classes and parameters, those of the authors' code.
COUNTS = [
    ('mmpretrain.ResNet_CIFAR', 18, 10, 11_173_962),
    ('mmrazor.CBAMResNet_CIFAR', 18, 10, 11_263_842),
    ('mmrazor.CBAMResNet_CIFAR', 18, 100, 11_310_012),
    ('mmpretrain.ResNet_CIFAR', 50, 10, 23_520_842),
    ('mmrazor.CBAMResNet_CIFAR', 50, 10, 26_053_434),
    ('mmrazor.CBAMResNet_CIFAR', 50, 100, 26_237_844),
    ('mmrazor.CBAMResNet', 18, 1000, 11_779_392),
    ('mmrazor.CBAMResNet', 50, 1000, 28_089_624),
]
# Small networks of each kind, and what each stage gives for 32x32 images.
NARROW = dict(stem_channels=16, base_channels=16)
NETWORKS = {
    'CIFARResNet': (dict(depth=8), 64, [(16, 32), (32, 16), (64, 8)]),
    'ResNet_CIFAR': (dict(depth=50, **NARROW), 512, [(64, 32), (128, 16), (256, 8), (512, 4)]),
    'ResNet': (dict(depth=18, **NARROW), 128, [(16, 8), (32, 4), (64, 2), (128, 1)]),
}


def network_cfg(kind, attention=True, **backbone):
    options, width, _ = NETWORKS[kind]
    plain = 'mmrazor.CIFARResNet' if kind == 'CIFARResNet' else f'mmpretrain.{kind}'
    name = f'mmrazor.CBAM{kind}' if attention else plain
    return classifier_cfg(dict(options, type=name, **backbone), in_channels=width)


def slow_cbam(cbam, x):
    """Sample by sample and channel by channel, from the formulas."""
    state = cbam.state_dict()
    first, second = (f'channel_gate.mlp.{i}' for i in (0, 2))
    out = torch.zeros_like(x)
    for n, image in enumerate(x):
        scores = 0
        for pool in (torch.mean, torch.max):
            vector = torch.stack([pool(channel) for channel in image])
            hidden = state[f'{first}.weight'] @ vector + state[f'{first}.bias']
            hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
            scores = scores + state[f'{second}.weight'] @ hidden + state[f'{second}.bias']
        gated = torch.stack([c / (1 + torch.exp(-s)) for c, s in zip(image, scores)])
        pooled = torch.stack([gated.max(0).values, gated.sum(0) / len(gated)])
        padded = F.pad(pooled, (3, 3, 3, 3))
        weight = state['spatial_gate.conv.weight'][0]
        norm = {key: state[f'spatial_gate.bn.{key}'] for key in ('weight', 'bias')}
        mean, var = (state[f'spatial_gate.bn.running_{key}'] for key in ('mean', 'var'))
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                score = (weight * padded[:, i : i + 7, j : j + 7]).sum()
                score = (score - mean) / torch.sqrt(var + 1e-5) * norm['weight'] + norm['bias']
                out[n, :, i, j] = gated[:, i, j] / (1 + torch.exp(-score))
    return out


@pytest.fixture
def cbam():
    """One whose gates are all awake."""
    torch.manual_seed(0)
    module = CBAM(6, reduction=2).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    module.spatial_gate.bn.running_mean.fill_(0.3)
    module.spatial_gate.bn.running_var.fill_(1.7)
    return module


@pytest.mark.parametrize('name, depth, num_classes, expected', COUNTS)
def test_counts(name, depth, num_classes, expected):
    width = 512 if depth == 18 else 2048
    network = MODELS.build(classifier_cfg(dict(type=name, depth=depth), num_classes, width))
    assert sum(p.numel() for p in network.parameters()) == expected


def test_equals_the_formulas(cbam, t_map):
    weighed = cbam(t_map)
    torch.testing.assert_close(weighed, slow_cbam(cbam, t_map), rtol=1e-12, atol=1e-12)
    channels = cbam.channel_gate(t_map)
    assert channels.shape == (4, 6, 1, 1) and channels.std() > 0.1
    positions = cbam.spatial_gate(t_map)
    assert positions.shape == (4, 1, 8, 8) and positions.std() > 0.01


def test_start(build):
    """Positions weigh one half each, whatever the rest starts with; BatchNorm's pace is slow."""
    network = build(network_cfg('CIFARResNet'))
    attention = network.backbone.layer3[0].cbam
    images = torch.randn(2, 64, 8, 8)
    assert (attention.spatial_gate(images) == 0.5).all()
    assert attention.spatial_gate.bn.momentum == 0.01
    assert (network.backbone.layer3[0].bn2.weight == 1).all()
    assert attention.channel_gate.mlp[0].out_features == 4
    assert all((attention.channel_gate.mlp[i].bias == 0).all() for i in (0, 2))
    assert network.backbone.layer1[0].cbam.channel_gate.mlp[0].out_features == 1
    assert CBAM(8).channel_gate.mlp[0].out_features == 1
    with torch.no_grad():
        network(torch.randn(2, 3, 32, 32))


def test_reduction():
    backbone = MODELS.build(dict(type='mmrazor.CBAMCIFARResNet', depth=8, reduction=4))
    assert backbone.layer3[0].cbam.channel_gate.mlp[0].out_features == 16
    for reduction in (0, 2.5):
        with pytest.raises(ValueError, match=f'CBAM: reduction={reduction} is not 1, 2, 3'):
            CBAM(16, reduction)


@pytest.mark.parametrize('kind', NETWORKS)
def test_it_weighs_the_residual_branch_before_the_sum(trained_like, images, kind):
    stages = NETWORKS[kind][2]
    cfg = network_cfg(kind, out_indices=tuple(range(len(stages))))
    network = trained_like(cfg)
    plain = MODELS.build(network_cfg(kind, attention=False, out_indices=range(len(stages))))
    plain = plain.double().eval()
    state = network.state_dict()
    missing, unexpected = plain.load_state_dict(state, strict=False)
    assert not missing and all('.cbam.' in key for key in unexpected)
    with torch.no_grad():
        maps = network.backbone(images)
    assert [tuple(m.shape[1:]) for m in maps] == [(c, size, size) for c, size in stages]

    # MMPretrain's own blocks, with attention behind their last BatchNorm.
    blocks = [(n, b) for n, b in network.backbone.named_modules() if hasattr(b, 'cbam')]
    for name, block in blocks:
        norm = 'bn3' if hasattr(block, 'bn3') else 'bn2'
        last = plain.backbone.get_submodule(f'{name}.{norm}')
        last.register_forward_hook(lambda m, args, out, gate=block.cbam: slow_cbam(gate, out))
    with torch.no_grad():
        for found, expected in zip(maps, plain.backbone(images)):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_gradients_reach_all_weights(build, batch):
    network = build(network_cfg('CIFARResNet', zero_init_residual=False, with_cp=True)).double()
    for module in network.modules():
        if isinstance(module, CBAM):
            torch.nn.init.constant_(module.spatial_gate.bn.weight, 0.5)
            torch.nn.init.constant_(module.channel_gate.mlp[0].bias, 1.0)
    images = batch['inputs'].double().requires_grad_()
    grads = []
    for with_cp in (True, False):
        for module in network.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = with_cp
        network.zero_grad()
        network(images).square().sum().backward()
        grads.append([p.grad.clone() for n, p in network.named_parameters() if 'head' not in n])
    assert all(grad.abs().sum() > 0 for grad in grads[0])
    assert all(torch.equal(a, b) for a, b in zip(*grads))


def test_a_checkpoint_without_attention_loads_but_for_the_gates(build, tmp_path):
    plain = build(cifar_resnet_cfg(8))
    literature = {
        key.replace('backbone.', '').replace('head.', ''): value
        for key, value in plain.state_dict().items()
    }
    save_checkpoint(dict(state_dict=literature), str(tmp_path / 'plain.pth'))
    network = build(network_cfg('CIFARResNet'))
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    load_checkpoint(network, str(tmp_path / 'plain.pth'))
    for key, value in network.state_dict().items():
        if '.cbam.' in key:
            assert key.startswith('backbone.layer') and key not in plain.state_dict()
        else:
            assert torch.equal(value, plain.state_dict()[key])

    save_checkpoint(dict(state_dict=network.state_dict()), str(tmp_path / 'own.pth'))
    again = build(network_cfg('CIFARResNet'))
    load_checkpoint(again, str(tmp_path / 'own.pth'), strict=True)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    assert 'backbone.layer1.0.cbam.channel_gate.mlp.0.weight' in again.state_dict()


def test_initialisation_keeps_pretrained_gates(build, tmp_path):
    backbone = build(network_cfg('CIFARResNet')).backbone
    gate = backbone.layer1[0].cbam.spatial_gate
    torch.nn.init.constant_(gate.bn.weight, 3.0)
    save_checkpoint(dict(state_dict=backbone.state_dict()), str(tmp_path / 'own.pth'))
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'own.pth'))
    again = build(network_cfg('CIFARResNet', init_cfg=start)).backbone
    assert again.layer1[0].cbam.spatial_gate.bn.weight.item() == 3.0


@pytest.mark.parametrize('kind', ['CIFARResNet', 'ResNet_CIFAR'])
def test_as_a_teacher(trained_like, images, kind):
    """Taps, recorders before and after the ReLU, the gates' own, and BatchNorm folded away."""
    teacher = trained_like(network_cfg(kind))
    ends = resolve_taps(teacher, stage_end_taps(teacher))
    assert ends[0] == ('backbone.layer1.0' if kind == 'CIFARResNet' else 'backbone.layer1.2')
    recorders = {tap: dict(type='mmrazor.ModuleOutputs', source=tap) for tap in ends}
    recorders['signed'], _, norm = pre_relu_record(teacher, ends[1])
    assert norm == f'{ends[1]}.{"bn2" if kind == "CIFARResNet" else "bn3"}'
    gate = f'{ends[0]}.cbam.spatial_gate'
    recorders['gate'] = dict(type='mmrazor.ModuleOutputs', source=gate)
    manager = RecorderManager(recorders)
    manager.initialize(teacher)

    def records(run):
        run()
        taken = [list(recorder.data_buffer) for recorder in manager.recorders.values()]
        for recorder in manager.recorders.values():
            recorder.reset_data_buffer()
        return [t[0] if isinstance(t, tuple) else t for taken_here in taken for t in taken_here]

    def plainly():
        with manager, torch.no_grad():
            teacher(images)

    expected = records(plainly)
    lean = LeanTeacher(teacher, manager, images)
    assert fold_batchnorms in lean.changes
    for a, b in zip(expected, records(lambda: lean(images)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    folded = lean._copy.get_submodule(gate)
    assert isinstance(folded.bn, torch.nn.Identity) and folded.conv.bias is not None


def test_as_onnx(cbam, tmp_path):
    pytest.importorskip('onnxscript')
    cbam.data_preprocessor = None
    assert export_onnx(cbam.float(), tmp_path / 'cbam.onnx', (6, 8, 8)) <= 1e-4
