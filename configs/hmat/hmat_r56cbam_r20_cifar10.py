_base_ = [
    '../_base_/pairs/r56cbam_r20_cifar10.py',
    '../_base_/methods/hmat.py',
    '../_base_/datasets/cifar10_val.py',
    '../_base_/schedules/cifar_30e_early_stop.py',
    '../_base_/default_runtime.py',
]

model = _base_.method
