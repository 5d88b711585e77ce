# FitNet as the literature compares with: one hint, at the end of stage 2, trained along with the
# task; the regressor is a convolution, BatchNorm and ReLU. The LAKD paper's Fig. 1 and Table 4
# have a hint at each stage, at='stages'.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_fitnet=dict(
            loss=dict(type='mmrazor.L2Loss', normalize=False, div_element=True, loss_weight=100.0),
            at=[2],
            connector=dict(type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN')),
        )
    ),
)
