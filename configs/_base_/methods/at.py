# Attention transfer at the end of each stage, with the literature's weight.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_at=dict(
            loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
            at='stages',
            connector=None,
        )
    ),
)
