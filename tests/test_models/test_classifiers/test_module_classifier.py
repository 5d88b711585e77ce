"""Any module from images to logits as a classifier."""

import copy

import pytest
import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from torch import nn

RESNET = dict(
    type='mmrazor.ModuleClassifier', factory='torchvision.models.resnet18', num_classes=10
)


def test_it_is_the_network_with_a_loss():
    network = MODELS.build(RESNET).eval()
    images = torch.rand(2, 3, 32, 32)
    logits = network.backbone(images)
    assert logits.shape == (2, 10) and torch.equal(network(images, mode='tensor'), logits)
    samples = [DataSample().set_gt_label(i) for i in (3, 5)]
    loss = network(images, samples, mode='loss')['loss']
    assert torch.allclose(loss, nn.functional.cross_entropy(logits, torch.tensor([3, 5])))
    predicted = network(images, samples, mode='predict')
    assert [p.pred_label.item() for p in predicted] == logits.argmax(1).tolist()


def test_as_student_of_lakd_and_as_teacher():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type='mmrazor.LAKD', architecture=RESNET, teacher=RESNET, input_shape=(3, 64, 64))
    )
    assert model.student.tap_names == [f'backbone.layer{i}' for i in ('1.0', '2.0', '3.0', '4.1')]
    # Pooling and classifier belong to the last module, as in other classifiers.
    assert model.student.num_cuts == 3 and model.backward == 'local'
    images, samples = torch.rand(2, 3, 64, 64), [DataSample().set_gt_label(i) for i in (3, 5)]
    losses = model(images, samples, mode='loss')
    reached = {}
    parameters = dict(model.student.architecture.named_parameters())
    for name in ('student.loss', 'distill.loss_cat', 'distill.loss_module2'):
        grads = torch.autograd.grad(
            losses[name], list(parameters.values()), retain_graph=True, allow_unused=True
        )
        reached[name] = {k.split('.')[1] for k, g in zip(parameters, grads) if g is not None}
    assert reached['distill.loss_module2'] == {'layer1', 'layer2'}
    assert reached['student.loss'] == {'layer3', 'layer4', 'fc'}
    assert reached['distill.loss_cat'] == {'layer3', 'layer4', 'fc'}


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(factory='torchvision.models.resnet19'), "no factory 'torchvision.models.resnet19'"),
        (dict(factory='resnet18'), "no factory 'resnet18'"),
        (dict(factory='collections.Counter'), 'makes a Counter, no nn.Module'),
        (dict(depth=3), 'unexpected keyword argument'),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(RESNET, **changes))


def test_classes_that_are_not_those_of_the_network():
    network = MODELS.build(dict(RESNET, factory=nn.Flatten, num_classes=10))
    with pytest.raises(ValueError, match='Flatten gives 3072 logits, but num_classes=10'):
        network(torch.rand(2, 3, 32, 32), mode='tensor')
    network = MODELS.build(dict(RESNET, factory=nn.Identity))
    with pytest.raises(ValueError, match='Identity gives no logits'):
        network(torch.rand(2, 3, 32, 32), mode='tensor')


def test_own_names_of_weights_are_read_everywhere(tmp_path):
    own = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    torch.save(own.state_dict(), tmp_path / 'own.pth')
    cfg = dict(RESNET, factory=lambda: copy.deepcopy(own).apply(_zero))
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'own.pth'))
    network = MODELS.build(dict(cfg, init_cfg=pretrained))
    network.init_weights()
    model = MODELS.build(
        dict(
            type='mmrazor.Distill',
            architecture=cfg,
            teacher=cfg,
            teacher_ckpt=str(tmp_path / 'own.pth'),
            transfers=dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence'), at='logits')),
        )
    )
    for read in (network, model.teacher):
        assert all(map(torch.equal, read.backbone.state_dict().values(), own.state_dict().values()))
    # The classifier's own names are left alone.
    model.load_state_dict(model.state_dict())
    assert not any(p.any() for p in model.student.parameters())
    with pytest.raises(RuntimeError, match='Missing key.*backbone.0.bias'):
        network.load_state_dict({'0.weight': own[0].weight})


def _zero(module):
    for parameter in module.parameters(recurse=False):
        parameter.data.zero_()
