_base_ = [
    '../_base_/models/mobile_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(type='mmrazor.CIFARMobileNetV2'))
# The literature's for MobileNets and ShuffleNets; under this recipe our reading.
optim_wrapper = dict(optimizer=dict(lr=0.01))
