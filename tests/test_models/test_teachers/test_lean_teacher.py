import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from mmrazor.models.task_modules import RecorderManager
from networks import cifar_resnet_cfg, classifier_cfg, scatter_statistics

from lakd_mm.models.teachers import LeanTeacher, fold_batchnorms


def recorder_manager(teacher, **sources):
    manager = RecorderManager(
        {name: dict(type=f'mmrazor.{t}', source=source) for name, (t, source) in sources.items()}
    )
    manager.initialize(teacher)
    return manager


def records(manager, run, inputs):
    run(inputs)
    taken = [recorder.data_buffer for recorder in manager.recorders.values()]
    for recorder in manager.recorders.values():
        recorder.reset_data_buffer()
    return taken


@pytest.fixture
def teacher(build):
    return scatter_statistics(build(cifar_resnet_cfg(14)))


@pytest.mark.parametrize('channels_last', [True, False])
@pytest.mark.parametrize('fold', [True, False])
def test_the_same_records(teacher, batch, fold, channels_last):
    manager = recorder_manager(
        teacher,
        early=('ModuleOutputs', 'backbone.layer1.0'),
        signed=('ModuleInputs', 'backbone.layer2.1.relu'),
        late=('ModuleOutputs', 'backbone'),
    )
    images = batch['inputs']

    def plainly(inputs):
        with manager, torch.no_grad():
            teacher(inputs)

    expected = records(manager, plainly, images)
    lean = LeanTeacher(teacher, manager, images, fold, channels_last=channels_last)
    assert (fold_batchnorms in lean.changes) == fold
    for _ in range(2):
        found = records(manager, lean, images)
        assert [len(record) for record in found] == [1, 2, 1]
        for e, f in zip(expected, found):
            for a, b in zip(e, f):
                a, b = a[0] if isinstance(a, tuple) else a, b[0] if isinstance(b, tuple) else b
                assert (a - b).norm() <= 1e-5 * a.norm()
                assert b.is_contiguous(memory_format=torch.channels_last) or not channels_last
                assert not b.requires_grad


def ran(network):
    names = []
    for name, module in network.named_modules():
        module.register_forward_pre_hook(lambda m, a, name=name: names.append(name))
    return names


@pytest.mark.parametrize('stop_early', [True, False])
def test_nothing_runs_after_the_last_record(teacher, batch, stop_early):
    manager = recorder_manager(
        teacher,
        late=('ModuleOutputs', 'backbone.layer2.0'),
        early=('ModuleOutputs', 'backbone.layer1'),
    )
    names = ran(teacher)
    lean = LeanTeacher(teacher, manager, batch['inputs'], stop_early=stop_early)
    names.clear()
    lean(batch['inputs'])
    assert ('backbone.layer2.1' in names) != stop_early
    assert ('head.fc' in names) != stop_early
    assert 'backbone.layer2.0' in names


def test_batchnorm_that_is_recorded_is_not_folded(teacher, batch):
    manager = recorder_manager(teacher, norm=('ModuleOutputs', 'backbone.layer1.0.bn1'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    assert fold_batchnorms not in lean.changes
    ((norm,),) = records(manager, lean, batch['inputs'])
    assert (norm < 0).any()


class PreActivation(torch.nn.Module):
    """Normalises first, but registers its convolution first."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(16)

    def forward(self, x):
        return self.conv(self.norm(x).relu())


def test_a_network_that_normalises_first_is_not_folded_wrongly(build, batch):
    teacher = build(cifar_resnet_cfg(8))
    teacher.backbone.layer1[0] = PreActivation()
    scatter_statistics(teacher)
    manager = recorder_manager(teacher, tap=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    assert fold_batchnorms not in lean.changes
    with torch.no_grad():
        (expected,) = teacher.extract_feat(batch['inputs'], stage='backbone')
    (((found,),),) = records(manager, lean, batch['inputs'])
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_a_wide_resnet_is_folded_where_a_convolution_comes_first(build, batch):
    """The BatchNorm that ends it stands beside the stem's convolution, but not behind it."""
    wrn = dict(type='mmrazor.CIFARWideResNet', depth=10, widen_factor=1)
    teacher = scatter_statistics(build(classifier_cfg(wrn)))
    manager = recorder_manager(teacher, tap=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    assert fold_batchnorms in lean.changes
    with torch.no_grad():
        (expected,) = teacher.extract_feat(batch['inputs'], stage='backbone')
    (((found,),),) = records(manager, lean, batch['inputs'])
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    left = [m for m in lean._copy.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(left) == 4  # the first of each block, and the last


def test_new_weights_are_noticed(build, teacher, batch):
    manager = recorder_manager(teacher, tap=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    lean(batch['inputs'])
    other = scatter_statistics(build(cifar_resnet_cfg(14)))
    for parameter in other.parameters():
        parameter.data.mul_(0.9)
    teacher.load_state_dict(other.state_dict())
    (((found,),),) = records(manager, lean, batch['inputs'])
    with torch.no_grad():
        expected = other.eval().extract_feat(batch['inputs'], stage='backbone')[0]
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    teacher.double()
    (((found,),),) = records(manager, lean, batch['inputs'].double())
    assert found.dtype == torch.float64


def lakd_cfg(**kwargs):
    return dict(
        type='mmrazor.LAKD',
        architecture=cifar_resnet_cfg(8),
        teacher=cifar_resnet_cfg(14),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        **kwargs,
    )


def test_checkpoints_hold_the_plain_teacher_or_none(build, tmp_path):
    model = build(lakd_cfg())
    expected = set(model.teacher.state_dict())
    keys = {k[len('teacher.') :] for k in get_state_dict(model) if k.startswith('teacher.')}
    assert keys == expected

    without = build(lakd_cfg(save_teacher=False))
    state = get_state_dict(without)
    assert state and not any(key.startswith('teacher.') for key in state)
    assert not any(key.startswith('teacher.') for key in without.state_dict())
    path = str(tmp_path / 'checkpoint.pth')
    save_checkpoint(dict(state_dict=state), path)
    teacher = {k: v.clone() for k, v in without.teacher.state_dict().items()}
    load_checkpoint(without, path, strict=True)
    assert all(torch.equal(v, teacher[k]) for k, v in without.teacher.state_dict().items())


def test_hooks_of_others_see_the_teacher_run_once(build, batch):
    model = build(lakd_cfg())
    seen = []
    model.teacher.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    model.teacher.backbone.register_forward_pre_hook(lambda *_: seen.append('backbone'))
    model(**batch, mode='loss')
    assert seen == ['backbone', False]


def test_a_random_teacher_is_named(build, monkeypatch):
    said = []
    monkeypatch.setattr(
        'lakd_mm.models.algorithms.distill.print_log', lambda text, **_: said.append(text)
    )
    build(lakd_cfg())
    assert len(said) == 1 and said[0].startswith('The teacher has random weights')


def test_drop_path_in_a_teacher_is_off(build, batch):
    vit = classifier_cfg(
        dict(
            type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8, drop_path_rate=0.9
        ),
        in_channels=64,
    )
    model = build(dict(lakd_cfg(taps=[1, 3], teacher_taps=[1, 3]), teacher=vit, architecture=vit))
    assert model.train() is model
    first, second = (model(**batch, mode='loss')['distill.loss_module1'] for _ in range(2))
    assert model.student.backbone.layer4[1].drop_path.training
    outputs = [
        records(model.distiller.teacher_recorders, model.run_teacher, batch['inputs'])
        for _ in range(2)
    ]
    assert torch.equal(outputs[0][0][0], outputs[1][0][0])


def test_under_autocast_the_copy_holds_the_type(teacher, batch):
    manager = recorder_manager(teacher, late=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    images = batch['inputs']
    plain = records(manager, lean, images)[0][0][0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        held = records(manager, lean, images)[0][0][0]
        assert {p.dtype for p in lean._copy.parameters()} == {torch.bfloat16}
        # What is cast is folded, so that no BatchNorm is computed in this type.
        assert not [m for m in lean._copy.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        weight = lean._copy.backbone.layer1[0].conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last)
        copied = lean._copy
        records(manager, lean, images)
        assert lean._copy is copied
    assert held.dtype == torch.bfloat16
    assert (held.float() - plain).norm() < 0.02 * plain.norm()
    assert {p.dtype for p in teacher.parameters()} == {torch.float32}
    assert torch.equal(records(manager, lean, images)[0][0][0], plain)


def test_a_teacher_that_makes_float32_itself_is_cast_instead(build, batch):
    class Shift(torch.nn.Module):
        def forward(self, x):
            return x + torch.zeros(1, dtype=torch.float32)

    teacher = scatter_statistics(build(cifar_resnet_cfg(14)))
    teacher.backbone.layer1.append(Shift())
    manager = recorder_manager(teacher, late=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    plain = records(manager, lean, batch['inputs'])[0][0][0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cast = records(manager, lean, batch['inputs'])[0][0][0]
    assert (cast.float() - plain).norm() < 0.02 * plain.norm()


@pytest.mark.parametrize('change', ['data', 'module'])
def test_what_leaves_no_version_is_seen_too(teacher, batch, change):
    manager = recorder_manager(teacher, late=('ModuleOutputs', 'backbone'))
    lean = LeanTeacher(teacher, manager, batch['inputs'])
    before = records(manager, lean, batch['inputs'])[0][0][0]
    if change == 'data':
        teacher.backbone.conv1.weight.data = teacher.backbone.conv1.weight.data * 2
    else:
        teacher.backbone.layer3[1] = torch.nn.Identity()
    assert not torch.equal(records(manager, lean, batch['inputs'])[0][0][0], before)
