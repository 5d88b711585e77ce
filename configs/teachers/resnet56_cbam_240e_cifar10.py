_base_ = [
    '../_base_/models/resnet_cifar.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(type='mmrazor.CBAMCIFARResNet', depth=56), head=dict(num_classes=10))
