"""Weights that a config asks for arrive, or there is an error that counts what fits."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from networks import cifar_resnet_cfg
from small_run import small_runner

from lakd_mm.compat import mmengine_weights
from lakd_mm.errors import ConfigError

PREPROCESSOR = dict(type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3)
ALGORITHM = dict(
    type='mmrazor.Distill',
    data_preprocessor=PREPROCESSOR,
    architecture=cifar_resnet_cfg(8),
    teacher=cifar_resnet_cfg(14),
    transfers=dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')),
)


@pytest.fixture
def file(tmp_path):
    """Writes the weights of a network, all of them 0.5."""

    def write(depth=8, change=lambda state: state, **kwargs):
        network = MODELS.build(cifar_resnet_cfg(depth, **kwargs))
        state = {k: torch.full_like(v, 0.5) for k, v in network.state_dict().items()}
        torch.save(dict(state_dict=change(state)), tmp_path / 'net.pth')
        return str(tmp_path / 'net.pth')

    init_default_scope('mmpretrain')
    return write


@pytest.fixture
def told(monkeypatch):
    """What is logged about weights."""
    lines = []
    monkeypatch.setattr(mmengine_weights, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


def loaded(folder, path, **kwargs):
    """What a runner has after load_from, before any step."""
    runner = small_runner(folder, load_from=path, **kwargs)
    runner.load_or_resume()
    return runner.model


def test_whole_file_of_this_network(tmp_path, file):
    model = loaded(tmp_path, file())
    assert all(torch.all(value == 0.5) for value in model.parameters())


@pytest.mark.parametrize('depth, text', [(14, 'are left over'), (20, 'Only in the file: backbone')])
def test_another_networks_file(tmp_path, file, depth, text):
    with pytest.raises(ConfigError, match=text) as error:
        loaded(tmp_path, file(depth))
    message = str(error.value)
    assert message.startswith(f"load_from='{tmp_path / 'net.pth'}': ")
    assert 'keys of the ImageClassifier fit' in message and 'load_strict=False' in message


def test_names_the_nearest_key(tmp_path, file):
    path = file(change=lambda state: {k.replace('conv1', 'convA'): v for k, v in state.items()})
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, path)
    message = str(error.value)
    assert 'Not in the file: backbone.conv1.weight' in message
    assert "did you mean 'backbone.convA.weight'" in message


def test_nothing_fits(tmp_path, file):
    path = file(change=lambda state: {f'net.{key}': value for key, value in state.items()})
    with pytest.raises(ConfigError, match=r': 0 of 47 keys of the ImageClassifier fit, 56 of the'):
        loaded(tmp_path, path)


def test_the_key_that_allows_it(tmp_path, file):
    cfg = Config(dict(load_strict=False))
    assert all(torch.all(v == 0.5) for v in loaded(tmp_path, file(14), cfg=cfg).parameters())


def test_head_with_another_number_of_classes(tmp_path, file, told):
    model = loaded(tmp_path, file(num_classes=7))
    assert 'Of another shape: head.fc.weight, head.fc.bias.' in told[0]
    assert all(torch.all(value == 0.5) for value in model.backbone.parameters())
    assert not torch.any(model.head.fc.weight == 0.5)


def test_plain_student_goes_into_the_student(tmp_path, file):
    model = loaded(tmp_path, file(), model=ALGORITHM)
    assert all(torch.all(value == 0.5) for value in model.architecture.parameters())
    assert not any(torch.all(v == 0.5) for v in model.teacher.parameters() if v.dim() == 4)


def test_plain_file_of_another_student(tmp_path, file):
    with pytest.raises(ConfigError, match='keys of the ImageClassifier fit'):
        loaded(tmp_path, file(14), model=ALGORITHM)


class TestInitCfg:
    """Of a backbone, by a prefix, as MMPretrain's configs have it."""

    def build(self, path, strict=None, depth=8):
        init = dict(type='Pretrained', checkpoint=path, prefix='backbone')
        if strict is not None:
            init['strict'] = strict
        network = MODELS.build(cifar_resnet_cfg(depth, init_cfg=init))
        network.init_weights()
        return network

    def test_arrives(self, file):
        network = self.build(file(num_classes=7))
        assert all(torch.all(value == 0.5) for value in network.backbone.parameters())

    def test_a_few_keys_may_be_missing(self, file, told):
        path = file(
            change=lambda s: {k: v for k, v in s.items() if 'layer3.0.bn2' not in k},
        )
        network = self.build(path)
        assert torch.all(network.backbone.conv1.weight == 0.5)
        assert 'Not in the file: layer3.0.bn2.weight' in told[0]

    def test_another_networks(self, file):
        path = file(change=lambda s: {k.replace('layer', 'stage'): v for k, v in s.items()})
        with pytest.raises(ConfigError, match=r'init_cfg.checkpoint=.*net.pth. .prefix .backbone'):
            self.build(path)
        network = self.build(path, strict=False)
        assert torch.all(network.backbone.conv1.weight == 0.5)


@pytest.mark.parametrize('save_teacher', [True, False])
def test_an_algorithms_own_checkpoint_is_whole(tmp_path, file, save_teacher):
    """With the student in modules, and with averaged weights beside it."""
    algorithm = dict(ALGORITHM, type='mmrazor.LAKD', save_teacher=save_teacher)
    del algorithm['transfers']
    options = dict(model=algorithm, custom_hooks=[dict(type='EMAHook')])
    first = small_runner(tmp_path / 'w', **options)
    first.train()
    second = small_runner(tmp_path / 'w', resume=True, **options)
    second.train()
    expected, found = first.model.state_dict(), second.model.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert any(name.startswith('teacher.') for name in expected) == save_teacher

    model = loaded(tmp_path / 'plain', file(), model=algorithm)
    assert all(torch.all(value == 0.5) for value in model.architecture.parameters())
