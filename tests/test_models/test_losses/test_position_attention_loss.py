import math

import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import PositionAttentionLoss, position_attention


def slow_attention(image, temperature):
    """Row by row, from the formula."""
    vectors = [image[:, i, j] for i in range(image.shape[1]) for j in range(image.shape[2])]
    units = [vector / max(vector.norm().item(), 1e-12) for vector in vectors]
    rows = []
    for a in units:
        scores = [(a @ b).item() / temperature for b in units]
        total = sum(math.exp(score) for score in scores)
        rows.append([math.exp(score) / total for score in scores])
    return torch.tensor(rows, dtype=torch.float64)


def slow_loss(student, teacher, temperature=0.1):
    rows = 0.0
    for s, t in zip(student, teacher):
        difference = slow_attention(s, temperature) - slow_attention(t, temperature)
        rows += (difference**2).sum().item() / len(difference)
    return rows / len(student)


def test_equals_the_formula(s_map, t_map):
    loss = MODELS.build(dict(type='mmrazor.PositionAttentionLoss', loss_weight=50.0))
    assert loss(s_map, t_map).item() == pytest.approx(50 * slow_loss(s_map, t_map), rel=1e-12)
    warm = PositionAttentionLoss(temperature=0.5)(s_map, t_map).item()
    assert warm == pytest.approx(slow_loss(s_map, t_map, 0.5), rel=1e-12)


@pytest.mark.parametrize(
    'prepare, golden',
    [
        (lambda s, t: (s, t), 0.12006294282008358),
        (lambda s, t: (s.relu(), t.relu()), 0.09500492818580904),
        (lambda s, t: (s[:, :4], F.avg_pool2d(t, 2)), 0.2899877645756417),
    ],
)
def test_golden_values(s_map, t_map, prepare, golden):
    found = PositionAttentionLoss()(*prepare(s_map, t_map)).item()
    assert found == pytest.approx(golden, rel=1e-12)


def test_attention_of_two_positions_by_hand():
    """Orthogonal vectors, cosine 0 against 1, whatever their lengths."""
    feature = torch.tensor([[[[3.0, 0.0]], [[0.0, 5.0]]]], dtype=torch.float64)
    own = math.exp(2) / (math.exp(2) + 1)
    expected = torch.tensor([[[own, 1 - own], [1 - own, own]]], dtype=torch.float64)
    torch.testing.assert_close(position_attention(feature, 0.5), expected)
    nothing = position_attention(torch.zeros(1, 2, 1, 2))
    assert torch.equal(nothing, torch.full((1, 2, 2), 0.5))


def test_larger_maps_are_pooled_once(s_map, t_map):
    loss = PositionAttentionLoss(max_size=3)
    pooled = (F.adaptive_avg_pool2d(f, 3) for f in (s_map, t_map))
    assert loss(s_map, t_map).item() == pytest.approx(slow_loss(*pooled), rel=1e-12)
    wide, tall = F.avg_pool2d(s_map, (2, 1)), F.avg_pool2d(t_map, (1, 4))
    pooled = (F.adaptive_avg_pool2d(wide, (4, 2)), F.adaptive_avg_pool2d(tall, (4, 2)))
    found = PositionAttentionLoss()(wide, tall).item()
    assert found == pytest.approx(slow_loss(*pooled), rel=1e-12)


def test_length_and_number_of_channels_do_not_matter(s_map, t_map):
    loss = PositionAttentionLoss()
    expected = loss(s_map, t_map)
    torch.testing.assert_close(loss(7 * s_map, t_map), expected)
    torch.testing.assert_close(loss(s_map, t_map.repeat(1, 3, 1, 1)), expected)
    assert loss(t_map, t_map) == 0


def test_bad_input(s_map):
    with pytest.raises(ValueError, match=r'\(4, 6\); it must be \(N, C, H, W\)'):
        PositionAttentionLoss()(s_map, s_map[..., 0, 0])
    with pytest.raises(ValueError, match='max_size=1 is below 2'):
        PositionAttentionLoss(max_size=1)
    with pytest.raises(ValueError, match='temperature=0 is not positive'):
        PositionAttentionLoss(temperature=0)
