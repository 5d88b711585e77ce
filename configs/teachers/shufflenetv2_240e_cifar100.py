_base_ = [
    '../_base_/models/mobile_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(type='mmrazor.CIFARShuffleNetV2'), head=dict(in_channels=1024, init_cfg=None)
)
# The literature's for MobileNets and ShuffleNets.
optim_wrapper = dict(optimizer=dict(lr=0.01))
