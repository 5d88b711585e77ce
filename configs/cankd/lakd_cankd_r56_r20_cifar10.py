_base_ = '../lakd/lakd_r56_r20_cifar10.py'

# LAKD's modules, each aligned by CanKD in place of the activation mapping (our combination).
model = dict(feature_loss=dict(_delete_=True, type='mmrazor.CanKDLoss'))
