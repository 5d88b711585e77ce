# CanKD of a segmenter's last stage, with its authors' weight and connector.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_cankd=dict(
            loss=dict(type='mmrazor.CanKDLoss'),
            at=dict(student=['backbone.layer4'], teacher=['backbone.layer4']),
            connector=dict(type='mmrazor.ConvModuleConnector', norm_cfg=None, act_cfg=None),
        )
    ),
)
