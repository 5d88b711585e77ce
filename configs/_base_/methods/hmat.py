# HMAT-style, re-derived from the abstract: positions at the low level, activation at the middle and
# the high one, channels at the high one. Weights are ours: those of positions and channels let the
# gradients start about as large as attention transfer's at the first stage (ResNet-56 -> 20).
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_position=dict(
            loss=dict(type='mmrazor.PositionAttentionLoss', loss_weight=50.0),
            at=[1],
            connector=None,
        ),
        loss_activation=dict(
            loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
            at=[2, 3],
            connector=None,
        ),
        loss_channel=dict(loss=dict(type='mmrazor.ChannelAttentionLoss'), at=[3]),
    ),
)
