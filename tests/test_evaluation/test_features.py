import pytest
import torch

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.features import layer_label, record, stem_and_blocks


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_record(resnet, images):
    network = resnet()
    found = record(network, ['backbone.layer2.0', 'input:backbone.layer1.0', 'head.fc'], images)
    backbone = network.backbone
    with torch.no_grad():
        stem = backbone.relu(backbone.bn1(backbone.conv1(images)))
        second = backbone.layer2(backbone.layer1(stem))
        logits = network(images)
    assert list(found) == ['backbone.layer2.0', 'input:backbone.layer1.0', 'head.fc']
    for value, expected in zip(found.values(), (second, stem, logits)):
        torch.testing.assert_close(value, expected)
        assert not value.requires_grad
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    assert sum(hooks) == 0


def test_only_the_result_of_a_function_is_kept(resnet, images):
    found = record(resnet(), ['backbone.layer1', 'backbone'], images, lambda x: tuple(x.shape))
    assert found == {'backbone.layer1': (3, 16, 32, 32), 'backbone': (3, 64, 8, 8)}


def test_layers_that_do_not_run(resnet, images):
    network = resnet()
    network.spare = torch.nn.Identity()
    with pytest.raises(ConfigError, match='ImageClassifier: spare gave no tensor'):
        record(network, ['backbone', 'spare'], images)
    assert not network.backbone._forward_hooks


def test_stem_and_blocks(resnet):
    network = resnet(14)
    layers = stem_and_blocks(network)
    assert [layer_label(layer) for layer in layers] == [
        'stem',
        *(f'layer{s}.{b}' for s in (1, 2, 3) for b in (0, 1)),
    ]
    with pytest.raises(ConfigError, match='Linear has no residual blocks'):
        stem_and_blocks(torch.nn.Linear(2, 2))
