import math

import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import CanKDLoss
from lakd_mm.models.losses.cankd_loss import softmax_attention


def make_loss(**kwargs):
    """With weights everywhere, also where it starts with zeros."""
    torch.manual_seed(0)
    loss = CanKDLoss(**dict(dict(in_channels=6, loss_weight=1.0), **kwargs)).double()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return loss


def normalised(feature):
    mean = feature.mean((2, 3), keepdim=True)
    return (feature - mean) / (feature.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()


def test_golden_value_at_the_start(s_map, t_map):
    loss = MODELS.build(dict(type='mmrazor.CanKDLoss', in_channels=6, loss_weight=1.0)).double()
    value = loss(s_map, t_map)
    torch.testing.assert_close(value.item(), 0.9929716448095477, rtol=1e-12, atol=0)
    assert CanKDLoss(6).double()(s_map, t_map).item() == pytest.approx(10 * value.item())
    expected = F.mse_loss(normalised(s_map), normalised(t_map)) / 2
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize('channels, count', [(256, 132_224), (2048, 8_397_824)])
def test_parameter_counts(channels, count):
    assert sum(p.numel() for p in CanKDLoss(channels).parameters()) == count


@pytest.mark.parametrize('attention', ['dot', 'gaussian', 'embedded_gaussian'])
@pytest.mark.parametrize('norm, residual', [(True, True), (False, True), (True, False)])
def test_slow_reference(s_map, t_map, attention, norm, residual):
    """Position by position, from the formula."""
    loss = make_loss(attention=attention, norm=norm, residual=residual)
    s, t = s_map[:2], t_map[:2]
    value = loss(s, t)

    def project(conv, vector):
        return conv.weight[:, :, 0, 0] @ vector + conv.bias

    def pooled(feature):
        keys = []
        for y in range(0, 8, 2):
            for x in range(0, 8, 2):
                keys.append(feature[:, y : y + 2, x : x + 2].amax((1, 2)))
        return keys

    gathered = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    for n in range(2):
        mapped = {}
        for name in ('phi', 'g'):
            conv = getattr(loss, name, None)
            mapped[name] = conv(t[n][None])[0] if conv else t[n]
        keys, values = pooled(mapped['phi']), pooled(mapped['g'])
        for y in range(8):
            for x in range(8):
                query = s[n, :, y, x]
                if attention != 'gaussian':
                    query = project(loss.theta, query)
                scores = [(query @ key).item() for key in keys]
                if attention == 'dot':
                    weights = [score / 16 for score in scores]
                else:
                    exponents = [math.exp(score) for score in scores]
                    weights = [e / sum(exponents) for e in exponents]
                gathered[n, :, y, x] = sum(w * v for w, v in zip(weights, values))
    enriched = loss.W(gathered) + (s if residual else 0)
    if norm:
        enriched, t = normalised(enriched), normalised(t)
    torch.testing.assert_close(value, F.mse_loss(enriched, t) / 2, rtol=1e-9, atol=0)


@pytest.mark.parametrize('max_scores', [1, 64 * 10, 64 * 16 * 4])
def test_blocks_equal_the_whole(s_map, t_map, max_scores):
    """Values and gradients, with one query at a time, some, and all."""
    results = []
    for bound in (2**24, max_scores):
        loss = make_loss(attention='embedded_gaussian', max_scores=bound)
        student = s_map.clone().requires_grad_()
        value = loss(student, t_map)
        value.backward()
        results.append([value, student.grad, *(p.grad for p in loss.parameters())])
    for whole, blocks in zip(*results):
        torch.testing.assert_close(blocks, whole, rtol=1e-9, atol=1e-12)


def held_floats(function):
    """The largest tensor that autograd keeps in a forward."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        function()
    return max(sizes)


def test_scores_are_not_held():
    """1,024 queries by 1,024 keys: neither by blocks of the softmax, nor by 'dot' at all."""
    query, key, value = (torch.randn(1, 1024, 4, requires_grad=True) for _ in range(3))
    plain = held_floats(lambda: softmax_attention(query, key, value, 2**24))
    blocks = held_floats(lambda: softmax_attention(query, key, value, 2**16))
    assert plain == 1024 * 1024 and blocks <= 2**16
    feature = torch.randn(1, 8, 32, 32, requires_grad=True)
    loss = CanKDLoss(8, pool_size=1)
    assert held_floats(lambda: loss(feature, feature.detach())) <= 8 * 32 * 32


def test_published_names_are_read():
    loss = make_loss()
    published = {
        f'non_local_att.{theirs}.{part}': loss.get_submodule(ours).state_dict()[part] + 1
        for theirs, ours in {
            'att.theta': 'theta',
            'att.phi.0': 'phi',
            'g.0': 'g',
            'W.0': 'W.0',
            'W.1': 'W.1',
        }.items()
        for part in loss.get_submodule(ours).state_dict()
    }
    expected = {k: v + 1 for k, v in loss.state_dict().items()}
    loss.load_state_dict(published)
    assert all(torch.equal(v, expected[k]) for k, v in loss.state_dict().items())


def test_gradients(s_map, t_map):
    """At the start only the zero weight behind the attention learns, then everything does."""
    loss = CanKDLoss(6).double()
    s_map.requires_grad_()
    t_map.requires_grad_()
    loss(s_map, t_map).backward()
    assert s_map.grad.abs().sum() > 0 and t_map.grad is None
    learning = {n for n, p in loss.named_parameters() if p.grad.abs().max() > 1e-12}
    assert learning == {'W.1.weight'}
    loss = make_loss()
    loss(s_map, t_map).backward()
    learning = {n for n, p in loss.named_parameters() if p.grad.abs().max() > 1e-9}
    assert {'theta.weight', 'phi.weight', 'g.weight', 'W.0.weight', 'W.1.weight'} <= learning


def test_resize(s_map, t_map):
    small = F.avg_pool2d(s_map, 2)
    large = F.interpolate(small, (8, 8), mode='bilinear', align_corners=False)
    loss = make_loss(resize=True)
    torch.testing.assert_close(loss(small, t_map), loss(large, t_map))


@pytest.mark.parametrize(
    'kwargs, prepare, message',
    [
        (dict(attention='cosine'), None, "attention='cosine' is none of 'dot'"),
        (dict(pool_size=0), None, 'pool_size=0 .* must be positive'),
        (dict(), lambda s, t: (s[:, :3], t), 'give a connector for the channels'),
        (dict(), lambda s, t: (s, t[..., :4, :4]), 'resize=True'),
        (dict(in_channels=8), lambda s, t: (s, t), 'in_channels=8'),
        (dict(), lambda s, t: (s[..., :1, :1], t[..., :1, :1]), 'too small for pool_size=2'),
        (dict(pool_size=1), lambda s, t: (s[..., :1, :1], t[..., :1, :1]), 'for norm=True'),
    ],
)
def test_bad_input(s_map, t_map, kwargs, prepare, message):
    with pytest.raises(ValueError, match=message):
        loss = make_loss(**kwargs)
        loss(*prepare(s_map, t_map))
