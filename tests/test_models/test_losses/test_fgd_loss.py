import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData
from mmrazor.registry import MODELS

from lakd_mm.models.losses import FGDLoss
from lakd_mm.models.losses.fgd_loss import (
    background_mask,
    channel_mask,
    foreground_mask,
    spatial_mask,
)

# Of a map of 8 x 8 positions for images of 64 x 96: a position is 8 pixels high and 12 wide.
BOXES = (
    [[12.0, 8.0, 36.0, 40.0], [20.0, 20.0, 30.0, 25.0]],
    [],
    [[0.0, 0.0, 96.0, 64.0]],
    [[90.0, 1.0, 96.0, 3.0], [50.0, 50.0, 49.0, 60.0]],
)


def sample(boxes, **shapes):
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return SimpleNamespace(gt_instances=InstanceData(bboxes=boxes), **shapes)


@pytest.fixture
def samples():
    return [sample(boxes, img_shape=(64, 96)) for boxes in BOXES]


def make_loss(**kwargs):
    """With weights everywhere, also where it starts with zeros."""
    torch.manual_seed(0)
    loss = FGDLoss(**dict(dict(in_channels=6), **kwargs)).double()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return loss


def slow_mask(boxes):
    """Position by position."""
    mask = [[0.0] * 8 for _ in range(8)]
    for x1, y1, x2, y2 in boxes:
        left, right = math.floor(x1 / 96 * 8), math.ceil(x2 / 96 * 8)
        top, bottom = math.floor(y1 / 64 * 8), math.ceil(y2 / 64 * 8)
        for y in range(8):
            for x in range(8):
                if top <= y <= bottom and left <= x <= right:
                    area = (bottom - top + 1) * (right - left + 1)
                    mask[y][x] = max(mask[y][x], 1 / area)
    return mask


def softmax(values):
    exponents = [math.exp(value) for value in values]
    return [e / sum(exponents) for e in exponents]


def slow_attention(feature):
    """Of one image, spatial and channel attention as nested lists."""
    f = feature.tolist()
    positions = [sum(abs(f[c][y][x]) for c in range(6)) / 6 for y in range(8) for x in range(8)]
    channels = [sum(abs(f[c][y][x]) for y in range(8) for x in range(8)) / 64 for c in range(6)]
    spatial = [64 * p for p in softmax([value / 0.5 for value in positions])]
    return spatial, [6 * p for p in softmax([value / 0.5 for value in channels])]


def slow_context(block, feature):
    """Of one image."""
    weights = softmax(
        [
            (block.mask.weight[0, :, 0, 0] @ feature[:, y, x] + block.mask.bias[0]).item()
            for y in range(8)
            for x in range(8)
        ]
    )
    context = sum(w * feature[:, i // 8, i % 8] for i, w in enumerate(weights))
    first, norm, _, last = block.add
    hidden = first.weight[:, :, 0, 0] @ context + first.bias
    hidden = (hidden - hidden.mean()) / (hidden.var(unbiased=False) + 1e-5).sqrt()
    hidden = (hidden * norm.weight.flatten() + norm.bias.flatten()).clamp(min=0)
    return feature + (last.weight[:, :, 0, 0] @ hidden + last.bias)[:, None, None]


def slow_parts(loss, s_map, t_map):
    """The four sums of the formula, without weights, divided by N."""
    foreground = background = attention = relation = 0.0
    for boxes, s, t in zip(BOXES, s_map, t_map):
        mask = slow_mask(boxes)
        outside = sum(value == 0 for row in mask for value in row)
        s_attention, t_attention = slow_attention(s), slow_attention(t)
        for y in range(8):
            for x in range(8):
                for c in range(6):
                    term = t_attention[0][8 * y + x] * t_attention[1][c]
                    term *= (s[c, y, x] - t[c, y, x]).item() ** 2
                    foreground += mask[y][x] * term
                    background += (term / outside) if mask[y][x] == 0 else 0
        for s_part, t_part in zip(s_attention, t_attention):
            attention += sum(abs(a - b) for a, b in zip(s_part, t_part))
        difference = slow_context(loss.s_context, s) - slow_context(loss.t_context, t)
        relation += difference.square().sum().item()
    return [part / 4 for part in (foreground, background, attention, relation)]


def test_slow_reference(s_map, t_map, samples):
    loss = make_loss()
    parts = slow_parts(loss, s_map, t_map)
    assert all(part > 0 for part in parts)
    weights = dict(alpha=1e-3, beta=5e-4, gamma=5e-4, lambda_=5e-6)
    expected = sum(weight * part for weight, part in zip(weights.values(), parts))
    assert loss(s_map, t_map, samples).item() == pytest.approx(expected, rel=1e-9)
    for (name, weight), part in zip(weights.items(), parts):
        alone = make_loss(**{**dict.fromkeys(weights, 0.0), name: weight}, loss_weight=2.0)
        value = alone(s_map, t_map, samples).item()
        assert value == pytest.approx(2 * weight * part, rel=1e-9), name


def test_golden_value_at_the_start(s_map, t_map, samples):
    """Of the slow reference; R is the identity, so that nothing depends on random weights."""
    loss = MODELS.build(dict(type='mmrazor.FGDLoss', in_channels=6)).double()
    assert loss(s_map, t_map, samples).item() == pytest.approx(0.018878551806205093, rel=1e-12)
    relation = FGDLoss(6, alpha=0, beta=0, gamma=0, lambda_=1.0).double()
    expected = (s_map - t_map).square().sum() / 4
    torch.testing.assert_close(relation(s_map, t_map, samples), expected)


def test_masks():
    """Rows come from y: a flat box at the top right is there and nowhere else."""
    boxes = torch.tensor([[90.0, 1.0, 96.0, 3.0]], dtype=torch.float64)
    mask = foreground_mask(boxes, (8, 8), (64, 96))
    # Ends are inclusive: two rows, and columns 7 and 8, of which the map has one.
    assert mask.nonzero().tolist() == [[0, 7], [1, 7]] and mask.max() == 1 / 4
    background = background_mask(mask)
    assert background[0, 7] == 0 and background[7, 0] == 1 / 62
    torch.testing.assert_close(background.sum(), torch.tensor(1.0, dtype=torch.float64))
    for boxes in BOXES:
        expected = torch.tensor(slow_mask(boxes), dtype=torch.float64)
        boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
        torch.testing.assert_close(foreground_mask(boxes, (8, 8), (64, 96)), expected)
    everywhere = foreground_mask(torch.tensor([[0.0, 0, 96, 64]]), (8, 8), (64, 96))
    assert not background_mask(everywhere).any()


def test_the_smallest_box_wins():
    boxes = torch.tensor([[0.0, 0, 7, 7], [2.0, 2, 3, 3], [0.0, 0, 5, 5]])
    mask = foreground_mask(boxes, (8, 8), (8, 8))
    assert mask[2, 2] == 1 / 4 and mask[0, 0] == 1 / 36 and mask[7, 7] == 1 / 64


def test_attention_has_mean_one(s_map):
    spatial, channel = spatial_mask(s_map), channel_mask(s_map)
    assert spatial.shape == (4, 1, 8, 8) and channel.shape == (4, 6, 1, 1)
    torch.testing.assert_close(spatial.mean((1, 2, 3)), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(channel.mean((1, 2, 3)), torch.ones(4, dtype=torch.float64))


def test_images_without_boxes(s_map, t_map):
    """No foreground, all of the map background, and everything finite."""
    empty = [sample([], img_shape=(64, 96))] * 4
    focal = dict(beta=0, gamma=0, lambda_=0)
    assert FGDLoss(6, **focal).double()(s_map, t_map, empty) == 0
    loss = FGDLoss(6, alpha=0, beta=1.0, gamma=0, lambda_=0).double()
    weight = spatial_mask(t_map) * channel_mask(t_map)
    expected = (weight * (s_map - t_map).square()).sum() / 64 / 4
    torch.testing.assert_close(loss(s_map, t_map, empty), expected)
    s_map.requires_grad_()
    value = FGDLoss(6).double()(s_map, t_map, empty)
    value.backward()
    assert value.isfinite() and s_map.grad.isfinite().all() and s_map.grad.abs().max() > 0


def test_frame(s_map, t_map):
    """Padding an image to the right and below moves its boxes up and left in the map."""
    boxes = [[12.0, 8.0, 36.0, 40.0]]
    padded = [sample(boxes, img_shape=(32, 48), batch_input_shape=(64, 96))] * 4
    plain = [sample(boxes, img_shape=(64, 96))] * 4
    stretched = [sample(boxes, img_shape=(32, 48))] * 4
    loss, authors = make_loss(), make_loss(frame='img_shape')
    value = loss(s_map, t_map, padded)
    assert value == loss(s_map, t_map, plain) and value != authors(s_map, t_map, padded)
    assert authors(s_map, t_map, padded) == loss(s_map, t_map, stretched)


def test_box_types_and_dtypes(s_map, t_map, samples):
    boxed = [
        SimpleNamespace(
            gt_instances=SimpleNamespace(bboxes=SimpleNamespace(tensor=s.gt_instances.bboxes)),
            img_shape=(64, 96, 3),
        )
        for s in samples
    ]
    loss = make_loss()
    assert loss(s_map, t_map, boxed) == loss(s_map, t_map, samples)
    value = loss.float()(s_map.float(), t_map.float(), samples)
    torch.testing.assert_close(value.double(), make_loss()(s_map, t_map, samples))


def test_gradients(s_map, t_map, samples):
    s_map.requires_grad_()
    t_map.requires_grad_()
    loss = FGDLoss(6).double()
    loss(s_map, t_map, samples).backward()
    assert s_map.grad.abs().sum() > 0 and t_map.grad is None
    # At the start only the layers that are zero learn.
    learning = {n for n, p in loss.named_parameters() if p.grad.abs().max() > 0}
    sides = ('s_context', 't_context')
    assert learning == {f'{s}.add.3.{p}' for s in sides for p in ('weight', 'bias')}
    loss = make_loss(lambda_=1.0)
    loss(s_map, t_map, samples).backward()
    for name, parameter in loss.named_parameters():
        # What adds the same to every score drops out of a softmax.
        assert parameter.grad.abs().max() > 1e-6 or name.endswith('mask.bias'), name


@pytest.mark.parametrize(
    'kwargs, prepare, message',
    [
        (dict(frame='pad_shape'), None, "frame='pad_shape' is neither 'batch_input_shape'"),
        (dict(temperature=0), None, 'temperature=0 must be positive'),
        (dict(beta=-1), None, 'beta=-1.* cannot be negative'),
        (dict(), lambda s, t, d: (s[:, :3], t, d), 'give a connector for the channels'),
        (dict(), lambda s, t, d: (s[..., :4], t, d), 'pair levels of one size'),
        (dict(in_channels=8), lambda s, t, d: (s, t, d), 'in_channels=8'),
        (dict(), lambda s, t, d: (s, t, None), 'no data samples for 4 images'),
        (dict(), lambda s, t, d: (s, t, d[:2]), '2 data samples for 4 images'),
        (dict(), lambda s, t, d: (s, t, [SimpleNamespace()] * 4), 'has no gt_instances.bboxes'),
        (dict(), lambda s, t, d: (s, t, [sample([])] * 4), 'neither batch_input_shape nor img_sh'),
    ],
)
def test_bad_input(s_map, t_map, samples, kwargs, prepare, message):
    with pytest.raises(ValueError, match=message):
        loss = make_loss(**kwargs)
        loss(*prepare(s_map, t_map, samples))


@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16])
def test_boxes_stay_float32_under_autocast(half):
    """Half precision knows no odd pixel above 2,048: these corners would move to other cells."""
    boxes = [[2049.0, 2055.0, 2055.0, 2063.0]]
    wide = sample(boxes, img_shape=(2176, 2176))
    wide.gt_instances.bboxes = wide.gt_instances.bboxes.float()
    torch.manual_seed(0)
    maps = [torch.randn(1, 6, 272, 272).to(half) for _ in range(2)]
    loss = make_loss(beta=0.0, gamma=0.0, lambda_=0.0).float()
    expected = loss(*(m.float() for m in maps), [wide])
    with torch.autocast('cpu', half):
        found = loss(*maps, [wide])
        mask = loss._masks(maps[1], [wide])
    assert mask.dtype == torch.float32
    assert torch.equal(mask, loss._masks(maps[1].float(), [wide]))
    assert mask[0, 0].nonzero().amin(0).tolist() == [256, 256]
    assert mask[0, 0].nonzero().amax(0).tolist() == [258, 257]
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
