"""LAKD on the networks of the literature whose stages are not those of a ResNet."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from networks import cifar_resnet_cfg, cifar_vgg_cfg, cifar_wrn_cfg, classifier_cfg

# Student, teacher, the student's taps and the teacher's stage ends.
PAIRS = {
    'wrn': (
        cifar_wrn_cfg(16, 2),
        cifar_wrn_cfg(22, 2),
        ['layer1.0', 'layer2.0', 'layer3.1'],
        ['layer1.2', 'layer2.2', 'layer3.2'],
    ),
    'vgg': (
        cifar_vgg_cfg(8),
        cifar_vgg_cfg(11),
        [f'layer{i}.0' for i in range(1, 5)],
        ['layer1.0', 'layer2.1', 'layer3.1', 'layer4.1'],
    ),
    # A convolution behind the last stage is the student's last tap.
    'mobilenet': (
        classifier_cfg(dict(type='mmrazor.CIFARMobileNetV2'), in_channels=1280),
        cifar_vgg_cfg(8),
        ['layer1.0', 'layer2.0', 'layer3.0', 'conv2'],
        ['layer1.0', 'layer2.0', 'layer3.0', 'layer4.0'],
    ),
    'shufflenet_v1': (
        classifier_cfg(dict(type='mmrazor.CIFARShuffleNetV1'), in_channels=960),
        cifar_wrn_cfg(10),
        ['layer1.0', 'layer2.0', 'layer3.3'],
        ['layer1.0', 'layer2.0', 'layer3.0'],
    ),
    'shufflenet_v2': (
        classifier_cfg(dict(type='mmrazor.CIFARShuffleNetV2'), in_channels=1024),
        cifar_resnet_cfg(8),
        ['layer1.0', 'layer2.0', 'conv2'],
        ['layer1.0', 'layer2.0', 'layer3.0'],
    ),
}
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)


class KeepGrads(OptimWrapper):
    """Steps and zeroes nothing, so that the gradients can be looked at."""

    def step(self, **kwargs):
        pass

    def zero_grad(self, **kwargs):
        pass


def lakd_cfg(pair, **kwargs):
    student, teacher, _, _ = PAIRS[pair]
    return dict(
        type='mmrazor.LAKD',
        architecture=student,
        teacher=teacher,
        data_preprocessor=PREPROCESSOR,
        **kwargs,
    )


@pytest.mark.parametrize('pair', PAIRS)
def test_default_taps(build, pair):
    model = build(lakd_cfg(pair))
    _, _, taps, teacher_taps = PAIRS[pair]
    assert model.student.tap_names == [f'backbone.{tap}' for tap in taps]
    sources = [r.source for r in model.distiller.teacher_recorders.recorders.values()]
    assert sources == [*(f'backbone.{tap}' for tap in teacher_taps), 'backbone']
    assert model.student.num_cuts == len(taps) - 1 and model.backward == 'local'


@pytest.mark.parametrize(
    'pair',
    [pytest.param(pair, marks=[pytest.mark.slow] if 'net' in pair else []) for pair in PAIRS],
)
def test_local_backward_gives_the_joint_gradients_to_the_bit(build, batch, pair):
    logs, grads = [], []
    for backward in ('local', 'joint'):
        model = build(lakd_cfg(pair, backward=backward))
        wrapper = KeepGrads(torch.optim.SGD(model.parameters(), lr=0.1))
        data = dict(inputs=list(batch['inputs']), data_samples=batch['data_samples'])
        logs.append(model.train_step(data, optim_wrapper=wrapper))
        grads.append({k: p.grad for k, p in model.student.named_parameters()})
    local, joint = grads
    assert all(torch.equal(local[k], joint[k]) for k in joint)
    # In front of BatchNorm a bias changes nothing; what reaches it is rounding.
    assert all(g.abs().sum() > 0 for k, g in local.items() if not k.endswith('conv.bias'))
    assert logs[0].keys() == logs[1].keys()
    assert all(torch.equal(logs[0][k].detach(), logs[1][k].detach()) for k in logs[0])


@pytest.mark.parametrize('pair', PAIRS)
def test_each_loss_stays_in_its_module(build, batch, pair):
    model = build(lakd_cfg(pair, backward='joint'))
    taps = model.student.tap_names
    losses = model(**batch, mode='loss')
    last = len(taps) - 1
    owners = {f'distill.loss_module{i + 1}': i for i in range(last + 1)}
    owners.update({'student.loss': last, 'distill.loss_cat': last})
    assert losses.keys() == owners.keys()
    for name, owner in owners.items():
        parameters = dict(model.student.architecture.named_parameters())
        grads = torch.autograd.grad(
            losses[name], list(parameters.values()), retain_graph=True, allow_unused=True
        )
        reached = {k for k, g in zip(parameters, grads) if g is not None and g.abs().sum() > 0}
        tapped = {tap for tap in taps if any(k.startswith(f'{tap}.') for k in reached)}
        assert tapped == {taps[owner]}


def test_signed_sums_are_recorded_as_they_are(build, batch):
    """The ReLU behind a pre-activation block belongs to the next module, past the cut."""
    model = build(lakd_cfg('wrn', tap_position='pre_relu'))
    recorders = model.distiller.student_recorders.recorders
    assert [recorders[f'module{i}'].source for i in (1, 2)] == [
        'backbone.layer1.0',
        'backbone.layer2.0',
    ]
    losses = model(**batch, mode='loss')
    losses['distill.loss_module2'].backward()
    assert model.student.backbone.layer2[0].conv2.weight.grad.abs().sum() > 0
