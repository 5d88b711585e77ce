_base_ = [
    '../_base_/pairs/r56_r20_cifar100.py',
    '../_base_/methods/hmat.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = _base_.method
