import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import AttentionTransferLoss, attention_map


@pytest.mark.parametrize(
    'prepare, golden',
    [
        (lambda s, t: (s, t), 0.0023819827704548795),
        (lambda s, t: (s.relu(), t.relu()), 0.011108443957354188),
        (lambda s, t: (s, F.avg_pool2d(t, 2)), 0.008461435476939876),
    ],
)
def test_golden_values(s_map, t_map, prepare, golden):
    loss = MODELS.build(dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0))
    torch.testing.assert_close(
        loss(*prepare(s_map, t_map)).item(), 1000 * golden, rtol=1e-12, atol=0
    )


def test_equals_mmrazors_loss_where_sizes_agree(s_map, t_map):
    theirs = MODELS.build(dict(type='mmrazor.ATLoss', loss_weight=3.0))
    ours = AttentionTransferLoss(loss_weight=3.0)
    torch.testing.assert_close(ours(s_map, t_map), theirs(s_map, t_map), rtol=1e-12, atol=0)
    with pytest.raises(RuntimeError):
        theirs(s_map, F.avg_pool2d(t_map, 2))


def test_other_exponent_by_hand(s_map, t_map):
    total = 0.0
    for s, t in zip(s_map, t_map):
        a, b = (f.abs().pow(1.5).mean(0).flatten() for f in (s, t))
        total += ((a / a.norm() - b / b.norm()) ** 2).sum().item()
    loss = AttentionTransferLoss(p=1.5)(s_map, t_map).item()
    assert loss == pytest.approx(total / (4 * 64), rel=1e-12)


def test_pools_either_side_and_each_axis(s_map, t_map):
    loss = AttentionTransferLoss()
    small = F.avg_pool2d(s_map, 2)
    expected = F.mse_loss(attention_map(small), attention_map(F.avg_pool2d(t_map, 2)))
    torch.testing.assert_close(loss(small, t_map), expected)
    wide, tall = F.avg_pool2d(s_map, (2, 1)), F.avg_pool2d(t_map, (1, 2))
    expected = F.mse_loss(
        attention_map(F.avg_pool2d(wide, (1, 2))), attention_map(F.avg_pool2d(tall, (2, 1)))
    )
    torch.testing.assert_close(loss(wide, tall), expected)


def test_bad_input(s_map):
    with pytest.raises(ValueError, match=r'\(4, 6\).*must be \(N, C, H, W\)'):
        AttentionTransferLoss()(s_map, s_map[..., 0, 0])
    with pytest.raises(ValueError, match='p=0 is not a positive number'):
        AttentionTransferLoss(p=0)
