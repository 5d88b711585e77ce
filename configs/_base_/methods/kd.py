# Hinton's distillation with the literature's temperature and weights for CIFAR.
method = dict(
    type='mmrazor.Distill',
    ce_weight=0.1,
    transfers=dict(
        loss_kd=dict(
            loss=dict(type='mmrazor.KLDivergence', tau=4, loss_weight=0.9),
            at='logits',
        )
    ),
)
