import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import (
    ChannelAttentionLoss,
    attention_map,
    channel_attention,
)


def slow_loss(student, teacher):
    """Sample by sample and channel by channel, from the formula."""
    total = 0.0
    for s, t in zip(student, teacher):
        vectors = []
        for image in (s, t):
            active = [(channel**2).sum().item() / channel.numel() for channel in image]
            norm = sum(value**2 for value in active) ** 0.5
            vectors.append([value / norm for value in active])
        total += sum((a - b) ** 2 for a, b in zip(*vectors))
    return total / len(student)


@pytest.mark.parametrize(
    'prepare, golden',
    [
        (lambda s, t: (s, t), 0.001039055248326804),
        (lambda s, t: (s.relu(), t.relu()), 0.005188769230784546),
        (lambda s, t: (s, F.avg_pool2d(t, 2)), 0.001261168590719384),
    ],
)
def test_golden_values_and_the_formula(s_map, t_map, prepare, golden):
    loss = MODELS.build(dict(type='mmrazor.ChannelAttentionLoss', loss_weight=3.0))
    student, teacher = prepare(s_map, t_map)
    found = loss(student, teacher).item()
    assert found == pytest.approx(3 * golden, rel=1e-12)
    assert found == pytest.approx(3 * slow_loss(student, teacher), rel=1e-12)


def test_is_attention_transfer_with_channels_and_positions_exchanged(s_map):
    exchanged = s_map.flatten(2).transpose(1, 2)[..., None]
    torch.testing.assert_close(channel_attention(s_map), attention_map(exchanged))


def test_length_does_not_matter(s_map, t_map):
    loss = ChannelAttentionLoss()
    torch.testing.assert_close(loss(7 * s_map, t_map), loss(s_map, t_map))
    assert loss(t_map, t_map) == 0
    apart = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    apart[0][:, 0], apart[1][:, 1] = 3.0, 1.0
    assert loss(*apart) == 2


def test_bad_input(s_map):
    with pytest.raises(ValueError, match=r'\(4, 6\); both must be \(N, C, H, W\)'):
        ChannelAttentionLoss()(s_map, s_map[..., 0, 0])
    with pytest.raises(ValueError, match=r"same channels: .* connector='auto'"):
        ChannelAttentionLoss()(s_map, s_map[:, :4])
