_base_ = [
    '../_base_/pairs/wrn40_2_wrn40_1_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 7, 18],
    teacher_taps=[6, 12, 18],
    attention_loss=_base_.cat_loss.wrn40_2_wrn40_1,
)
