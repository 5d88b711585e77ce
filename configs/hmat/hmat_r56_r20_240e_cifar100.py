_base_ = [
    '../_base_/pairs/r56_r20_cifar100.py',
    '../_base_/methods/hmat.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.method
