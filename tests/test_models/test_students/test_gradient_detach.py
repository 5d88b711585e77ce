import copy

import pytest
import torch
import torch.nn as nn
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, cifar_vgg_cfg, cifar_wrn_cfg, classifier_cfg

from lakd_mm.models.students import GradientDetachStudent

RESNET18_CIFAR = classifier_cfg(
    dict(type='mmpretrain.ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8),
    in_channels=64,
)
RESNET18 = classifier_cfg(
    dict(
        type='mmpretrain.ResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        out_indices=(0, 1, 2, 3),
    ),
    in_channels=64,
)
BLOCKS = ['backbone.layer1.0', 'backbone.layer2.0', 'backbone.layer3.2']
CASES = [
    (cifar_resnet_cfg(20), [1, 4, 9], 3),
    (cifar_resnet_cfg(20), [3, 6, 9], 3),
    (cifar_resnet_cfg(20), [2, 5], 3),
    (cifar_resnet_cfg(20), BLOCKS, 3),
    (cifar_resnet_cfg(20), ['backbone.layer1', 'backbone.layer2.1', 'backbone.layer3'], 3),
    (cifar_resnet_cfg(20), ['backbone.relu', 'backbone.layer3.1'], 3),
    (RESNET18_CIFAR, [1, 3, 5, 8], 4),
    (RESNET18, [1, 2, 4, 8], 4),
    # Behind the last block there are only BatchNorm and ReLU.
    (cifar_wrn_cfg(16), [1, 3, 6], 3),
    (cifar_wrn_cfg(16, 2), [2, 'backbone.layer2', 'backbone.layer3'], 3),
    (cifar_wrn_cfg(16), [2, 5], 3),
    (cifar_vgg_cfg(8), [1, 2, 3, 4], 4),
    (cifar_vgg_cfg(8), ['backbone.stem', 2, 4], 3),
    (cifar_vgg_cfg(8), ['backbone.layer1.0.bn', 'backbone.pool3'], 3),
]


def module_of(student):
    """The local module of each parameter: how many taps ran before its layer did."""
    taps_run, owner = [0], {}

    def ran(layer, args):
        for parameter in layer.parameters(recurse=False):
            owner[parameter] = taps_run[0]

    def tap_done(layer, args, output):
        taps_run[0] += 1

    handles = [m.register_forward_pre_hook(ran) for m in student.modules()]
    for name in student.tap_names:
        handles.append(student.architecture.get_submodule(name).register_forward_hook(tap_done))
    student(torch.zeros(2, 3, 32, 32))
    for handle in handles:
        handle.remove()
    # What runs after a tap that ends the backbone belongs to the last module all the same.
    return [min(owner[p], student.num_cuts) for p in student.parameters()]


def tap_outputs(student, inputs):
    outputs = []
    handles = [
        student.architecture.get_submodule(name).register_forward_hook(
            lambda module, args, output: outputs.append(output)
        )
        for name in student.tap_names
    ]
    logits = student(inputs)
    for handle in handles:
        handle.remove()
    return outputs, logits


@pytest.mark.parametrize('cfg, taps, num_modules', CASES)
def test_no_gradient_crosses_a_cut(build, batch, cfg, taps, num_modules):
    student = GradientDetachStudent(build(cfg), taps)
    assert student.num_cuts == num_modules - 1
    owner = module_of(student)
    assert set(owner) == set(range(num_modules))
    outputs, logits = tap_outputs(student, batch['inputs'])
    losses = [output.square().sum() for output in outputs[: student.num_cuts]] + [logits.sum()]
    parameters = list(student.parameters())
    for i, loss in enumerate(losses):
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached = [g is not None and bool(g.abs().sum() > 0) for g in grads]
        assert any(reached)
        assert {module for module, r in zip(owner, reached) if r} == {i}
        # Isolated exactly: not a small gradient, none.
        assert all(g is None for g, module in zip(grads, owner) if module != i)


def test_detaching_can_be_switched_off(build, batch):
    student = GradientDetachStudent(build(cifar_resnet_cfg(20)), [1, 4, 9], detach=False)
    plain = copy.deepcopy(student.architecture)
    student(batch['inputs']).sum().backward()
    assert student.backbone.conv1.weight.grad.abs().sum() > 0
    student.zero_grad()
    student.detach = True
    student(batch['inputs']).sum().backward()
    assert student.backbone.conv1.weight.grad is None
    assert plain.backbone.conv1.weight.grad is None


@pytest.mark.parametrize('cfg, taps, num_modules', CASES)
def test_the_value_is_the_plain_networks(build, batch, cfg, taps, num_modules):
    plain = build(cfg)
    student = GradientDetachStudent(copy.deepcopy(plain), taps)
    assert torch.equal(student(batch['inputs']), plain(batch['inputs']))
    student.eval(), plain.eval()
    predicted = student(batch['inputs'], mode='predict')
    expected = plain(batch['inputs'], mode='predict')
    assert all(torch.equal(a.pred_score, b.pred_score) for a, b in zip(predicted, expected))
    for a, b in zip(student.extract_feat(batch['inputs']), plain.extract_feat(batch['inputs'])):
        assert torch.equal(a, b)


def test_finding_the_cuts_leaves_no_trace(build):
    plain = build(cifar_resnet_cfg(8))
    before = copy.deepcopy(plain.state_dict())
    student = GradientDetachStudent(plain, [1, 2])
    assert student.training and plain.training
    assert all(torch.equal(before[k], v) for k, v in plain.state_dict().items())
    assert all(p.grad is None for p in plain.parameters())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in plain.modules()]
    assert sum(hooks) == 2
    assert student.eval() is student and student.train() is student


def test_modules_end_in_order(build, batch):
    student = GradientDetachStudent(build(cifar_resnet_cfg(20)), [1, 4, 9])
    ended = []
    with student.at_module_ends(ended.append):
        student(batch['inputs'])
        assert ended == [0, 1]
        with torch.no_grad():
            student(batch['inputs'])
    student(batch['inputs'])
    assert ended == [0, 1]


def test_a_copy_is_on_its_own(build, batch):
    student = GradientDetachStudent(build(cifar_resnet_cfg(20)), [1, 4, 9])
    twin = copy.deepcopy(student)
    twin.detach = False
    twin(batch['inputs']).sum().backward()
    student(batch['inputs']).sum().backward()
    assert twin.backbone.conv1.weight.grad is not None
    assert student.backbone.conv1.weight.grad is None


@pytest.mark.parametrize('state_of', [lambda m: m.state_dict(), get_state_dict])
def test_checkpoints_have_the_plain_names(build, tmp_path, state_of):
    plain = build(cifar_resnet_cfg(20))
    student = GradientDetachStudent(copy.deepcopy(plain), [1, 4, 9])
    state = state_of(student)
    assert state.keys() == plain.state_dict().keys()

    path = str(tmp_path / 'student.pth')
    for value in student.parameters():
        nn.init.normal_(value)
    save_checkpoint(dict(state_dict=state_of(student)), path)
    load_checkpoint(plain, path, strict=True)
    twin = GradientDetachStudent(build(cifar_resnet_cfg(20)), [1, 4, 9])
    load_checkpoint(twin, path, strict=True)
    native = GradientDetachStudent(build(cifar_resnet_cfg(20)), [1, 4, 9])
    native.load_state_dict(state)
    for other in (plain, twin, native):
        for a, b in zip(student.parameters(), other.parameters()):
            assert torch.equal(a, b)


def test_reads_the_literatures_checkpoints(build, tmp_path):
    plain = build(cifar_resnet_cfg(20))
    renamed = {
        key.replace('backbone.', '').replace('head.', ''): value
        for key, value in plain.state_dict().items()
    }
    torch.save(renamed, tmp_path / 'published.pt')
    student = GradientDetachStudent(MODELS.build(cifar_resnet_cfg(20)), [1, 4, 9])
    load_checkpoint(student, str(tmp_path / 'published.pt'), strict=True)
    assert torch.equal(student.head.fc.weight, plain.head.fc.weight)


@pytest.mark.parametrize(
    'taps, message',
    [
        ([1, 4, 10], 'no residual block 10, the network has 9, counted from 1'),
        ([0, 4], 'no residual block 0'),
        ([4, 1, 9], '1 does not come after 4'),
        ([1, 4, 4], '4 does not come after 4'),
        ([], 'give a list'),
        ('backbone.layer1', 'give a list'),
        (['backbone.layer1.5'], "did you mean 'backbone.layer1"),
        (['backbone.layer1', 'backbone.layer1.2'], 'lies inside'),
        (['backbone.layer2', 'backbone.layer1'], 'does not come after'),
        ([1.5], 'neither a block nor a module name'),
        (['neck.gap'], 'must run once each'),
        (['backbone.layer1.0.bn2'], 'cannot be isolated'),
        (['backbone.layer1.0.conv2'], 'cannot be isolated'),
    ],
)
def test_bad_taps(build, taps, message):
    with pytest.raises(ValueError, match=message):
        GradientDetachStudent(build(cifar_resnet_cfg(20)), taps)


@pytest.mark.parametrize('tap', ['backbone.layer2.0.bn1', 'backbone.layer3.0.bn1'])
def test_a_tap_whose_follower_runs_twice_is_cut_at_its_output(build, tap):
    student = GradientDetachStudent(build(cifar_wrn_cfg(16)), [tap])
    assert student.num_cuts == 1
    owners = dict(zip((name for name, _ in student.named_parameters()), module_of(student)))
    (record,), output = tap_outputs(student, torch.rand(2, 3, 32, 32))
    parameters = dict(student.named_parameters())
    for loss, module in ((output.square().sum(), 1), (record.square().sum(), 0)):
        grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        reached = {k for k, grad in zip(parameters, grads) if grad is not None and grad.any()}
        assert reached and {owners[name] for name in reached} == {module}


def test_the_task_trains_all_behind_the_last_cut(build, batch):
    student = GradientDetachStudent(build(cifar_wrn_cfg(16)), [1, 3, 6])
    student(batch['inputs']).square().sum().backward()
    for name in ('layer2.1.bn1', 'layer3.1.conv2', 'bn1'):
        assert student.backbone.get_submodule(name).weight.grad.abs().sum() > 0
    assert student.backbone.layer2[0].conv2.weight.grad is None


class Leaking(BaseModel):
    """The output of its first layer, or its input, also goes around the second."""

    def __init__(self, leak):
        super().__init__()
        self.leak = leak
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.join, self.norm = nn.Identity(), nn.BatchNorm2d(3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.first(inputs)
        return self.norm(self.join(self.second(x) + (x if self.leak == 'output' else inputs)))


def test_a_leak_around_a_cut_is_found_also_before_an_uncut_tap():
    with pytest.raises(ValueError, match="tap 'first' cannot be isolated"):
        GradientDetachStudent(Leaking('input'), ['first', 'join'])


def test_a_tap_is_cut_for_all_that_takes_its_output():
    student = GradientDetachStudent(Leaking('output'), ['first', 'join'])
    student(torch.rand(1, 3, 8, 8)).square().sum().backward()
    assert student.first.weight.grad is None and student.second.weight.grad.any()
    with student.uncut():
        student(torch.rand(1, 3, 8, 8)).square().sum().backward()
    assert student.first.weight.grad.any()


def test_networks_without_blocks_need_names():
    class Plain(BaseModel):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.second(self.first(inputs))

    with pytest.raises(ValueError, match='no residual blocks to count'):
        GradientDetachStudent(Plain(), [1])
    student = GradientDetachStudent(Plain(), ['first'])
    student(torch.ones(1, 3, 8, 8)).sum().backward()
    assert student.first.weight.grad is None and student.second.weight.grad is not None


def test_stages_that_are_defined_apart_from_what_lies_between_them():
    class Apart(BaseModel):
        """As RepLKNet: a list of stages, a list of transitions, run in turns."""

        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Conv2d(width, width, 1) for width in (3, 4, 5))
            self.transitions = nn.ModuleList(nn.Conv2d(i, i + 1, 3) for i in (3, 4))

        def forward(self, inputs, data_samples=None, mode='tensor'):
            for stage, transition in zip(self.stages, self.transitions):
                inputs = transition(stage(inputs))
            return self.stages[2](inputs)

    taps = ['transitions.0', 'stages.1', 'transitions.1']
    student = GradientDetachStudent(Apart(), taps)
    student(torch.ones(1, 3, 8, 8)).sum().backward()
    reached = {name for name, p in student.architecture.named_parameters() if p.grad is not None}
    assert reached == {'stages.2.weight', 'stages.2.bias'}
    for wrong in (['stages.1', 'stages.0'], ['stages.1', 'stages.1']):
        with pytest.raises(ValueError, match='does not come after'):
            GradientDetachStudent(Apart(), wrong)
    with pytest.raises(ValueError, match='must run once each and in this order'):
        GradientDetachStudent(Apart(), ['transitions.1', 'stages.1'])


def test_a_backbone_is_no_classifier(build):
    with pytest.raises(ValueError, match='wrap the backbone in an ImageClassifier'):
        GradientDetachStudent(build(cifar_resnet_cfg(8)).backbone, [1])


def test_images_it_does_not_take(build):
    with pytest.raises(ValueError, match='set input_shape'):
        GradientDetachStudent(build(cifar_resnet_cfg(8)), [1], input_shape=(1, 32, 32))
