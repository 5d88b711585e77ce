"""Attention and features inside a mask, against sums written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import (
    AttentionTransferLoss,
    CausalATLoss,
    CausalFALoss,
    ContrastiveAttentionLoss,
    attention_map,
)

LOSSES = (CausalATLoss, CausalFALoss, ContrastiveAttentionLoss)


@pytest.fixture
def mask():
    """Another half of the positions in each image, of different weights."""
    k = torch.arange(4 * 64, dtype=torch.float64).reshape(4, 1, 8, 8)
    return torch.where(torch.sin(0.7 * k) > 0, torch.cos(0.3 * k).abs(), 0.0)


def positions(mask):
    return [(y, x) for y in range(mask.shape[-2]) for x in range(mask.shape[-1])]


def test_attention_by_hand(s_map, t_map, mask):
    total = 0.0
    for s, t, m in zip(s_map, t_map, mask):
        maps = []
        for f in (s, t):
            a = [m[0, y, x] * (f[:, y, x] ** 2).mean() for y, x in positions(m)]
            norm = math.sqrt(sum(v.item() ** 2 for v in a))
            maps.append([v.item() / norm for v in a])
        total += sum((a - b) ** 2 for a, b in zip(*maps))
    loss = MODELS.build(dict(type='mmrazor.CausalATLoss', loss_weight=3.0))
    assert loss(s_map, t_map, mask).item() == pytest.approx(3 * total / (4 * 64), rel=1e-12)


def test_features_by_hand(s_map, t_map, mask):
    total = 0.0
    for s, t, m in zip(s_map, t_map, mask):
        inside = sum(m[0, y, x] * ((s - t)[:, y, x] ** 2).sum() for y, x in positions(m))
        total += (inside / (6 * m.sum())).item()
    loss = MODELS.build(dict(type='mmrazor.CausalFALoss', loss_weight=3.0))
    assert loss(s_map, t_map, mask).item() == pytest.approx(3 * total / 4, rel=1e-12)


@pytest.mark.parametrize('masked', [False, True])
def test_contrast_by_hand(s_map, t_map, mask, masked):
    student = s_map.square().mean(1).flatten(1)
    teacher = t_map.square().mean(1).flatten(1)
    total = 0.0
    for i in range(4):
        m = mask[i].flatten() if masked else torch.ones(64, dtype=torch.float64)
        near = [
            torch.cosine_similarity(m * student[i], m * teacher[j], dim=0).item() / 0.2
            for j in range(4)
        ]
        total -= near[i] - math.log(sum(math.exp(value) for value in near))
    loss = ContrastiveAttentionLoss(temperature=0.2, loss_weight=3.0)
    value = loss(s_map, t_map, mask if masked else None).item()
    assert value == pytest.approx(3 * total / 4, rel=1e-12)


def test_a_mask_of_ones_gives_the_plain_losses(s_map, t_map):
    ones = torch.ones(4, 1, 8, 8, dtype=torch.float64)
    plain = AttentionTransferLoss()(s_map, t_map)
    assert torch.equal(CausalATLoss()(s_map, t_map, ones), plain)
    assert plain.item() == pytest.approx(0.0023819827704548795, rel=1e-12)
    assert CausalFALoss()(s_map, t_map, ones).item() == pytest.approx(0.9937809542029653, rel=1e-12)
    contrast = ContrastiveAttentionLoss()
    torch.testing.assert_close(contrast(s_map, t_map, ones), contrast(s_map, t_map))


@pytest.mark.parametrize('loss', LOSSES)
def test_a_mask_of_zeros_gives_zero_and_no_gradient(loss, s_map, t_map):
    s_map.requires_grad_()
    value = loss()(s_map, t_map, torch.zeros(4, 1, 8, 8, dtype=torch.float64))
    value.backward()
    assert value.item() == 0
    assert torch.equal(s_map.grad, torch.zeros_like(s_map))


@pytest.mark.parametrize('loss', LOSSES)
def test_only_what_is_inside_counts(loss, s_map, t_map, mask):
    outside = (mask == 0).to(s_map) * torch.sin(s_map * 5)
    expected = loss()(s_map, t_map, mask)
    torch.testing.assert_close(loss()(s_map + outside, t_map, mask), expected, rtol=1e-12, atol=0)
    s_map.requires_grad_()
    loss()(s_map, t_map, mask).backward()
    inside = (mask > 0).expand_as(s_map)
    assert torch.count_nonzero(s_map.grad[~inside]) == 0
    assert torch.count_nonzero(s_map.grad[inside]) > 0.9 * inside.sum()


@pytest.mark.parametrize('loss', [CausalATLoss, CausalFALoss])
def test_a_batch_is_the_mean_of_its_halves(loss, s_map, t_map, mask):
    halves = [loss()(s_map[i], t_map[i], mask[i]) for i in (slice(2), slice(2, 4))]
    whole = loss()(s_map, t_map, mask)
    torch.testing.assert_close(whole, sum(halves) / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize('loss', LOSSES)
def test_the_larger_feature_is_pooled_and_the_mask_follows(loss, s_map, t_map, mask):
    small = F.avg_pool2d(s_map, 2)
    expected = loss()(small, F.avg_pool2d(t_map, 2), F.avg_pool2d(mask, 2))
    torch.testing.assert_close(loss()(small, t_map, mask), expected)
    torch.testing.assert_close(loss()(s_map, F.avg_pool2d(t_map, 2), mask), expected)


@pytest.mark.parametrize('loss', LOSSES)
def test_teacher_and_mask_are_constants(loss, s_map, t_map, mask):
    for tensor in (s_map, t_map, mask):
        tensor.requires_grad_()
    loss()(s_map, t_map, mask).backward()
    assert s_map.grad.abs().sum() > 0
    assert t_map.grad is None
    assert mask.grad is None


def test_the_contrast_is_least_where_each_image_is_most_like_itself(t_map):
    loss = ContrastiveAttentionLoss(temperature=0.05)
    same, swapped = loss(t_map, t_map), loss(t_map.flip(0), t_map)
    similarity = attention_map(t_map) @ attention_map(t_map).t() / 0.05
    expected = -similarity.log_softmax(dim=1).diagonal().mean()
    torch.testing.assert_close(same, expected)
    assert same < swapped


@pytest.mark.parametrize('loss', LOSSES)
def test_features_without_positions_are_refused(loss, mask):
    for shape in ((4, 6), (4, 6, 1, 1)):
        with pytest.raises(ValueError, match=rf'{loss.__name__}: a feature of shape \({shape[0]}'):
            loss()(torch.rand(shape), torch.rand(shape), mask)


@pytest.mark.parametrize('scale', [0.02, 1, 20])
@pytest.mark.parametrize('loss', LOSSES)
def test_half_precision_agrees(loss, s_map, t_map, mask, scale):
    s_map, t_map, mask = (tensor.float() for tensor in (scale * s_map, scale * t_map, mask))
    expected = loss()(s_map, t_map, mask)
    s_half, t_half = s_map.half().requires_grad_(), t_map.half()
    with torch.autocast('cpu', torch.float16):
        found = loss()(s_half, t_half, mask)
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    found.backward()
    assert s_half.grad.isfinite().all() and s_half.grad.abs().sum() > 0


def test_other_bad_input(s_map, t_map, mask):
    with pytest.raises(ValueError, match='CausalFALoss: the student has 3 channels, the teacher 6'):
        CausalFALoss()(s_map[:, :3], t_map, mask)
    with pytest.raises(ValueError, match='CausalATLoss: p=0 is not a positive number'):
        CausalATLoss(p=0)
    for value in (-1, '2', True):
        with pytest.raises(ValueError, match=f'ContrastiveAttentionLoss: temperature={value!r} is'):
            ContrastiveAttentionLoss(temperature=value)
