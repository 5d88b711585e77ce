_base_ = [
    'mmpretrain::_base_/models/resnet50_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(zero_init_residual=False), head=dict(num_classes=100, init_cfg=None))
