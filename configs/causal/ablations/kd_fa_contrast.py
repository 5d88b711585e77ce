_base_ = '../causal_kd_fa_r56cbam_r20_cifar10.py'

loss_contrast = dict(
    _base_.model.transfers.loss_fa,
    loss=dict(type='mmrazor.ContrastiveAttentionLoss', temperature=0.1),
    connector=None,
)
model = dict(transfers=dict(loss_contrast=loss_contrast))
