import pytest
import torch
from mmengine.runner import load_checkpoint
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, cifar_vgg_cfg, cifar_wrn_cfg

from lakd_mm.models.backbones import map_literature_keys

NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def resnet14_names():
    names = [f'bn1.{n}' for n in NORM]
    for stage in (1, 2, 3):
        for block in (0, 1):
            parts = [f'{p}.{n}' for p in ('bn1', 'bn2') for n in NORM]
            parts += ['conv1.weight', 'conv2.weight']
            if block == 0 and stage > 1:
                parts += ['downsample.0.weight', *(f'downsample.1.{n}' for n in NORM)]
            names += [f'layer{stage}.{block}.{part}' for part in parts]
    return {'conv1.weight', 'fc.weight', 'fc.bias', *names}


def wrn16_2_names():
    names = [f'bn1.{n}' for n in NORM]
    for stage in (1, 2, 3):
        for block in (0, 1):
            parts = [f'{p}.{n}' for p in ('bn1', 'bn2') for n in NORM]
            parts += ['conv1.weight', 'conv2.weight']
            parts += ['convShortcut.weight'] if block == 0 else []
            names += [f'block{stage}.layer.{block}.{part}' for part in parts]
    return {'conv1.weight', 'fc.weight', 'fc.bias', *names}


def vgg11_names():
    names = []
    for stage, num_convs in enumerate((1, 1, 2, 2, 2)):
        for i in range(num_convs):
            names += [f'block{stage}.{3 * i}.{n}' for n in ('weight', 'bias')]
            names += [f'block{stage}.{3 * i + 1}.{n}' for n in NORM]
    return {'classifier.weight', 'classifier.bias', *names}


# A network, all names of the literature's, and what some of them are here.
CASES = [
    (
        cifar_resnet_cfg(14),
        resnet14_names(),
        {
            'conv1.weight': 'backbone.conv1.weight',
            'layer2.0.downsample.1.running_var': 'backbone.layer2.0.downsample.1.running_var',
            'fc.bias': 'head.fc.bias',
        },
    ),
    (
        cifar_wrn_cfg(16, 2),
        wrn16_2_names(),
        {
            'conv1.weight': 'backbone.conv1.weight',
            'block2.layer.0.convShortcut.weight': 'backbone.layer2.0.downsample.weight',
            'block3.layer.1.bn2.bias': 'backbone.layer3.1.bn2.bias',
            'bn1.running_mean': 'backbone.bn1.running_mean',
            'fc.weight': 'head.fc.weight',
        },
    ),
    (
        cifar_vgg_cfg(11),
        vgg11_names(),
        {
            'block0.0.bias': 'backbone.stem.0.conv.bias',
            'block4.3.weight': 'backbone.layer4.1.conv.weight',
            'block4.4.running_var': 'backbone.layer4.1.bn.running_var',
            'classifier.weight': 'head.fc.weight',
        },
    ),
]


@pytest.mark.parametrize('cfg, names, some', CASES)
def test_every_name_is_mapped(cfg, names, some):
    ours = MODELS.build(cfg).state_dict()
    mapped = map_literature_keys({name: name for name in names})
    assert mapped.keys() == ours.keys() and len(names) == len(ours)
    assert {theirs: mapped[name] for theirs, name in some.items()} == {k: k for k in some}
    prefixed = map_literature_keys(
        {'teacher.fc.bias': 0, **{f'student.{name}': name for name in names}}, 'student.'
    )
    assert prefixed.keys() == {'teacher.fc.bias', *(f'student.{name}' for name in ours)}


@pytest.mark.parametrize('cfg, names, some', CASES)
@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(state_dict=s)])
def test_reads_the_literatures_checkpoints(tmp_path, cfg, names, some, wrap):
    ours = MODELS.build(cfg).state_dict()
    theirs = map_literature_keys({name: name for name in names})
    state = {
        theirs[name]: torch.full_like(value, i % 100)
        for i, (name, value) in enumerate(ours.items())
    }
    torch.save(wrap(state), tmp_path / 'published.pt')
    read, loaded = MODELS.build(cfg), MODELS.build(cfg)
    load_checkpoint(read, str(tmp_path / 'published.pt'), strict=True)
    loaded.load_state_dict(state)
    for network in (read, loaded):
        for i, value in enumerate(network.state_dict().values()):
            assert (value == i % 100).all()


def test_its_own_and_foreign_names_are_left_alone():
    for cfg in (cifar_resnet_cfg(8), cifar_wrn_cfg(10), cifar_vgg_cfg(8)):
        own = MODELS.build(cfg).state_dict()
        assert list(map_literature_keys(dict(own))) == list(own)
    backbone_only = {'conv1.weight': 0, 'bn1.weight': 1}
    assert map_literature_keys(dict(backbone_only)) == backbone_only
    mapped = map_literature_keys({'conv1.weight': 0, 'fc.weight': 1, 'extra.weight': 2})
    assert mapped == {'backbone.conv1.weight': 0, 'head.fc.weight': 1, 'extra.weight': 2}


def test_another_networks_checkpoint_is_refused():
    vgg = MODELS.build(cifar_vgg_cfg(8))
    with pytest.raises(RuntimeError, match='backbone.layer2.0.bn1.weight'):
        vgg.load_state_dict({name: torch.zeros(1) for name in wrn16_2_names()})
