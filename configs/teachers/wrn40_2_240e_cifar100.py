_base_ = [
    '../_base_/models/wrn_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=40, widen_factor=2))
