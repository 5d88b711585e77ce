_base_ = '../causal_kd_fa_r56cbam_r20_cifar10.py'

model = dict(transfers=dict(loss_contrast=_base_.contrast))
