# The student from scratch, under the same recipe.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_val.py',
    '../_base_/schedules/cifar_30e_early_stop.py',
    '../_base_/default_runtime.py',
]
