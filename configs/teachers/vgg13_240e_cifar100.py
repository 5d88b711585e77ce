_base_ = [
    '../_base_/models/vgg_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=13))
