_base_ = [
    '../_base_/pairs/r50cbam_r18_cifar10.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar10_val.py',
    '../_base_/schedules/cifar_30e_early_stop.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').causal_kd_fa
