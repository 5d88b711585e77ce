import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import mmcv
import pytest
import torch
from mmengine.model import BaseModel
from mmrazor.models.algorithms import BaseAlgorithm, SingleTeacherDistill
from mmrazor.models.architectures.connectors import MGDConnector
from torch import nn

from lakd_mm.compat import mmrazor as repairs


def test_recorder_sees_values_before_activation(run_code):
    printed = run_code("""
        import lakd_mm
        import torch
        from mmengine.registry import MODELS, init_default_scope

        init_default_scope('mmpretrain')
        network = dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=2, in_channels=32),
        )
        recorders = dict(bn=dict(type='mmrazor.ModuleOutputs', source='backbone.layer2.0.bn1'))
        model = MODELS.build(dict(
            type='mmrazor.SingleTeacherDistill',
            architecture=network,
            teacher=network,
            distiller=dict(
                type='mmrazor.ConfigurableDistiller',
                student_recorders=recorders,
                teacher_recorders=recorders,
            ),
        ))
        images = torch.randn(2, 3, 16, 16)
        for net, manager in (
            (model.student, model.distiller.student_recorders),
            (model.teacher, model.distiller.teacher_recorders),
        ):
            with manager:
                net(images, mode='tensor')
            print(manager.get_recorder('bn').get_record_data().min().item() < 0)
        print(any(getattr(module, 'inplace', False) for module in model.modules()))
    """)
    assert printed.split() == ['True', 'True', 'False']


def test_guard_descends_below_modules_that_have_inplace():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inplace = True
            self.act = nn.ReLU(inplace=True)

    block = Block()
    repairs.clear_inplace(None, nn.Sequential(block), 'self.architecture')
    assert not block.inplace and not block.act.inplace


def test_healthy_guard_is_left_alone(monkeypatch):
    def healthy(self, architecture, varstr):
        for module in architecture:
            module.inplace = False

    monkeypatch.setattr(BaseAlgorithm, 'set_module_inplace_false', healthy)
    repairs.restore_inplace_guard()
    assert BaseAlgorithm.set_module_inplace_false is healthy


class Net(BaseModel):
    """Holds what a teacher may hold."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.bn = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.dropout(self.bn(self.conv(inputs)))


@pytest.fixture
def build():
    def build_pair(**options):
        return SingleTeacherDistill(
            architecture=Net(),
            teacher=Net(),
            distiller=dict(type='mmrazor.ConfigurableDistiller'),
            **options,
        )

    return build_pair


def test_frozen_teacher_is_wholly_in_eval_mode(build):
    pair = build()
    assert pair.train() is pair
    assert not any(module.training for module in pair.teacher.modules())
    assert all(module.training for module in pair.student.modules())
    images = torch.ones(8, 1, 4, 4)
    assert torch.equal(pair.teacher(images), pair.teacher(images))
    assert pair.eval() is pair
    assert not any(module.training for module in pair.modules())


def test_norms_of_a_frozen_teacher_train_on_demand(build):
    pair = build(teacher_norm_eval=False).train()
    assert pair.teacher.bn.training and not pair.teacher.dropout.training
    assert not pair.eval().teacher.bn.training


def test_trainable_teacher_trains(build):
    teacher = build(teacher_trainable=True).train().teacher
    assert teacher.dropout.training and not teacher.bn.training


@pytest.mark.parametrize(
    'release, seen', [('2.0.0', '2.0.0'), ('2.1.0', '2.1.0'), ('2.3.6', '2.1.0')]
)
def test_mmrazor_sees_an_mmcv_that_it_knows(monkeypatch, release, seen):
    monkeypatch.setattr(mmcv, '__version__', release)
    with pytest.raises(RuntimeError), repairs.known_mmcv():
        assert mmcv.__version__ == seen
        raise RuntimeError
    assert mmcv.__version__ == release


@pytest.mark.parametrize('on_channel', [False, True])
def test_mgd_masks_as_before_on_a_cpu(on_channel):
    torch.manual_seed(0)
    connector = MGDConnector(4, 6, lambda_mgd=0.3, mask_on_channel=on_channel)
    feature = torch.randn(2, 4, 5, 5)
    torch.manual_seed(1)
    found = connector(feature)
    torch.manual_seed(1)
    aligned = connector.align(feature)
    drawn = torch.rand((2, 6, 1, 1) if on_channel else (2, 1, 5, 5))
    mask = torch.where(drawn > 0.7, 0.0, 1.0)
    assert 0 < mask.mean() < 1
    assert torch.equal(found, connector.generation(aligned * mask))
