# Contrastive representation distillation with the literature's options for CIFAR.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_crd=dict(
            loss=dict(type='mmrazor.ContrastiveRepresentationLoss', num_data=50000),
            at='pooled',
            connector=dict(type='mmrazor.CRDConnector'),
            teacher_connector=dict(type='mmrazor.CRDConnector'),
        )
    ),
)
