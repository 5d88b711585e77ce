# OFD at the end of each stage before the ReLU; the last stage weighs 1, each one before it half of
# the next. MMRazor's loss holds the overall 1e-3.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_ofd=dict(
            loss=dict(type='mmrazor.OFDLoss'),
            at='stages',
            position='pre_relu',
            connector=dict(
                type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN'), act_cfg=None
            ),
            teacher_connector=dict(type='mmrazor.MarginConnector'),
            growth=2.0,
        )
    ),
)
