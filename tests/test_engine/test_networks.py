import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

import lakd_mm  # noqa: F401
from lakd_mm.engine import ConfigError, load_network

PREPROCESSOR = dict(type='mmrazor.CropFlipDataPreprocessor', mean=[9.0] * 3, std=[2.0] * 3)


@pytest.fixture
def distillation():
    """Config of LAKD; ResNet-14 teaches ResNet-8."""
    student = dict(
        type='mmrazor.GradientDetachStudent', architecture=cifar_resnet_cfg(8), taps=[1, 3]
    )
    model = dict(
        type='mmrazor.LAKD',
        architecture=student,
        teacher=cifar_resnet_cfg(14),
        teacher_ckpt='absent.pth',
        teacher_taps=[2, 6],
    )
    return Config(dict(model=model, data_preprocessor=PREPROCESSOR))


@pytest.fixture
def plain():
    return Config(dict(model=cifar_resnet_cfg(8), data_preprocessor=dict(num_classes=10)))


@pytest.fixture
def algorithm(distillation):
    torch.manual_seed(0)
    return MODELS.build(dict(distillation.model, teacher_ckpt=None))


@pytest.fixture
def checkpoint(tmp_path):
    """Save a network or its state."""

    def save(network, name='a.pth'):
        state = network if isinstance(network, dict) else network.state_dict()
        save_checkpoint(dict(state_dict=state, meta={}), str(tmp_path / name))
        return str(tmp_path / name)

    return save


def assert_same(network, other):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), other.eval()(images))


def test_parts_of_a_distillation(distillation, plain, algorithm, checkpoint):
    path = checkpoint(algorithm)
    for part in ('student', 'teacher'):
        network, cfg = load_network(distillation, path, part)
        assert type(network).__name__ == 'ImageClassifier' and cfg is distillation
        assert not any(module.training for module in network.modules())
        assert network.data_preprocessor.mean.flatten().tolist() == [9.0] * 3
        assert_same(network, getattr(algorithm, part))
    # The student's own config reads the distillation's checkpoint too.
    assert_same(load_network(plain, path)[0], algorithm.student)


def test_networks_alone(distillation, plain, algorithm, checkpoint):
    student = checkpoint(algorithm.student.state_dict())
    for cfg in (distillation, plain):
        assert_same(load_network(cfg, student)[0], algorithm.student)
    teacher = checkpoint(algorithm.teacher, 'teacher.pth')
    assert_same(load_network(distillation, teacher, 'teacher')[0], algorithm.teacher)


def test_config_files(plain, algorithm, checkpoint, tmp_path):
    plain.dump(tmp_path / 'plain.py')
    network, cfg = load_network(str(tmp_path / 'plain.py'), checkpoint(algorithm))
    assert cfg.model.backbone.depth == 8
    assert type(network.data_preprocessor).__name__ == 'ClsDataPreprocessor'
    assert_same(network, algorithm.student)


def test_training_on_keeps_the_weights(plain, algorithm, checkpoint):
    network, _ = load_network(plain, checkpoint(algorithm))
    network.init_weights()
    assert_same(network.eval(), algorithm.student)


def test_mistakes(distillation, plain, algorithm, checkpoint, tmp_path):
    path = checkpoint(algorithm)
    with pytest.raises(ConfigError, match="part='pupil' is neither 'student' nor 'teacher'"):
        load_network(distillation, path, 'pupil')
    with pytest.raises(ConfigError, match='its model is a mmpretrain.ImageClassifier without a te'):
        load_network(plain, path, 'teacher')
    with pytest.raises(ConfigError, match=r'does not fit the student .* CIFARResNet \(depth=8\)'):
        load_network(plain, checkpoint(algorithm.teacher, 'b.pth'))
    with pytest.raises(ConfigError, match='config none.py: '):
        load_network('none.py', path)
    (tmp_path / 'empty.py').write_text('a = 1')
    with pytest.raises(ConfigError, match='empty.py: it has no model'):
        load_network(str(tmp_path / 'empty.py'), path)
    state = {k: v for k, v in algorithm.state_dict().items() if not k.startswith('teacher.')}
    with pytest.raises(ConfigError, match='of a distillation holds no teacher'):
        load_network(distillation, checkpoint(state), 'teacher')
