"""FusedSGD equals PyTorch's SGD to the bit."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg
from torch.optim import SGD

from lakd_mm.engine import FusedSGD, fused_sgd

# Of a layer (in channels-last, too), of BatchNorm, and of classifiers of 10 and 100 classes.
SHAPES = [(16, 3, 3, 3), (48, 16, 3, 3), (16,), (64,), (10, 64), (10,), (100,), ()]


def parameters(memory_format):
    """Parameters whose convolutions lie in memory as a network's do."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in SHAPES:
        tensor = torch.randn(shape, generator=generator)
        if tensor.dim() == 4:
            tensor = tensor.to(memory_format=memory_format)
        made.append(torch.nn.Parameter(tensor))
    return made


def train(optimizer, steps, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for p in group['params']:
                noise = torch.randn(p.shape, generator=generator)
                p.grad = torch.empty_like(p).copy_(noise)
        optimizer.step()


@pytest.fixture
def fused(monkeypatch):
    """Sizes that the fused kernel gets."""
    sizes = []

    def spy(params, *args, fused, **kwargs):
        sizes.extend(p.numel() for p in params if fused)
        return kernel(params, *args, fused=fused, **kwargs)

    kernel = fused_sgd.sgd
    monkeypatch.setattr(fused_sgd, 'sgd', spy)
    return sizes


OPTIONS = [
    dict(momentum=0.9, weight_decay=5e-4, nesterov=True),
    dict(momentum=0.9, weight_decay=5e-4),
    dict(momentum=0.5, dampening=0.3, maximize=True),
    dict(momentum=0.9, nesterov=True, differentiable=False, lr=torch.tensor(0.05)),
]


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('options', OPTIONS)
def test_equals_sgd(fused, options, memory_format):
    options = {'lr': 0.05, **options}
    expected, found = parameters(memory_format), parameters(memory_format)
    stock, ours = SGD(expected, **options), FusedSGD(found, **options)
    train(stock, 12)
    train(ours, 12)
    for one, other in zip(expected, found):
        assert torch.equal(one, other)
        momenta = (o.state[p]['momentum_buffer'] for o, p in ((stock, one), (ours, other)))
        assert torch.equal(*momenta)
    # From the second step on, all but the two biases of a classifier and the single number.
    assert fused == 11 * [432, 6912, 16, 64, 640]


@pytest.mark.parametrize('writer, reader', [(SGD, FusedSGD), (FusedSGD, SGD), (FusedSGD, FusedSGD)])
def test_goes_on_from_a_checkpoint(fused, writer, reader):
    """Momentum comes in another memory format than the parameters, as a loader may give it."""
    whole, parts = parameters(torch.channels_last), parameters(torch.channels_last)
    options = dict(lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    train(SGD(whole, **options), 6)
    first = writer(parts, **options)
    train(first, 3)
    state = first.state_dict()
    assert state['param_groups'] == SGD(parts, **options).state_dict()['param_groups']
    for entry in state['state'].values():
        entry['momentum_buffer'] = entry['momentum_buffer'].contiguous()
    second = reader(parts, **options)
    second.load_state_dict(state)
    fused.clear()
    train(second, 3, first=3)
    assert [p for p, q in zip(whole, parts) if not torch.equal(p, q)] == []
    assert fused == (3 * [432, 6912, 16, 64, 640] if reader is FusedSGD else [])


def test_a_gradient_in_another_memory_format_is_not_fused(fused):
    expected, found = parameters(torch.channels_last)[1:2], parameters(torch.channels_last)[1:2]
    stock, ours = (
        kind(p, lr=0.1, momentum=0.9) for kind, p in ((SGD, expected), (FusedSGD, found))
    )
    for optimizer in (stock, ours):
        for step in range(3):
            noise = torch.randn(48, 16, 3, 3, generator=torch.Generator().manual_seed(step))
            optimizer.param_groups[0]['params'][0].grad = noise
            optimizer.step()
    assert torch.equal(expected[0], found[0]) and fused == []


def test_without_momentum_and_without_gradients_and_with_a_closure():
    expected, found = parameters(torch.channels_last), parameters(torch.channels_last)
    stock, ours = (kind(p, lr=0.1) for kind, p in ((SGD, expected), (FusedSGD, found)))
    train(stock, 2)
    train(ours, 2)
    for optimizer, (first, *_) in ((stock, expected), (ours, found)):
        optimizer.zero_grad()

        def loss(first=first, optimizer=optimizer):
            optimizer.zero_grad()
            value = first.square().sum()
            value.backward()
            return value

        optimizer.last = optimizer.step(loss)
    assert stock.last == ours.last
    assert all(torch.equal(one, other) for one, other in zip(expected, found))


def test_a_network_trains_alike(fused):
    init_default_scope('mmpretrain')
    trained = []
    for kind in ('SGD', 'mmrazor.FusedSGD'):
        torch.manual_seed(0)
        network = MODELS.build(cifar_resnet_cfg(8)).to(memory_format=torch.channels_last)
        cfg = dict(type=kind, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
        wrapper = build_optim_wrapper(network, dict(optimizer=cfg))
        for _ in range(3):
            images = torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)
            wrapper.update_params(network(images).square().sum())
        trained.append(network.state_dict())
    assert type(wrapper.optimizer) is FusedSGD and len(fused) == 2 * (
        len([*network.parameters()]) - 1
    )
    assert [
        key for key, value in trained[0].items() if not torch.equal(value, trained[1][key])
    ] == []
