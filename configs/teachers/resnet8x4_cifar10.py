_base_ = [
    '../_base_/models/resnet_cifar.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=8, widen_factor=4), head=dict(num_classes=10, in_channels=256))
