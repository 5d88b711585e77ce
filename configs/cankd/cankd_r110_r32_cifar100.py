_base_ = [
    '../_base_/pairs/r110_r32_cifar100.py',
    '../_base_/methods/cankd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = _base_.method
