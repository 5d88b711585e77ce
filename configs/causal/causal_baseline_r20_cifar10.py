# The student from scratch, under the same recipe.
_base_ = [
    '../_base_/models/resnet_cifar.py',
    '../_base_/datasets/cifar10_val.py',
    '../_base_/schedules/cifar_30e_early_stop.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=20), head=dict(num_classes=10))
