# CAT-KD's loss for each pair, from its published configs; LAKD's paper names no weights of its own.
cat_loss = dict(
    r56_r20=dict(type='mmrazor.CATLoss', loss_weight=0.7),
    r110_r32=dict(type='mmrazor.CATLoss', loss_weight=1.8),
    r32x4_r8x4=dict(type='mmrazor.CATLoss', loss_weight=15.0),
    wrn40_2_wrn16_2=dict(type='mmrazor.CATLoss', loss_weight=12.0),
    wrn40_2_wrn40_1=dict(type='mmrazor.CATLoss', loss_weight=1.5),
    vgg13_vgg8=dict(type='mmrazor.CATLoss', loss_weight=4.5),
    r34_r18=dict(type='mmrazor.CATLoss', pool_size=4, loss_weight=0.5),
)
