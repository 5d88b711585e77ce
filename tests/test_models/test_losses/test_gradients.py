"""Where the gradients of losses of two features go."""

import pytest

from lakd_mm.models.losses import (
    AttentionTransferLoss,
    CATLoss,
    ChannelAttentionLoss,
    PositionAttentionLoss,
)

LOSSES = (AttentionTransferLoss, CATLoss, ChannelAttentionLoss, PositionAttentionLoss)


@pytest.mark.parametrize('loss', LOSSES)
def test_gradient_reaches_the_student_only(s_map, t_map, loss):
    s_map.requires_grad_()
    t_map.requires_grad_()
    loss()(s_map, t_map).backward()
    assert s_map.grad.abs().sum() > 0
    assert t_map.grad is None
