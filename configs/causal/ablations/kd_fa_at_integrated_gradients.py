_base_ = '../causal_kd_fa_at_r56cbam_r20_cifar10.py'

mask = dict(method='integrated_gradients', steps=4)
model = dict(transfers=dict(loss_fa=dict(mask=mask), loss_at=dict(mask=mask)))
