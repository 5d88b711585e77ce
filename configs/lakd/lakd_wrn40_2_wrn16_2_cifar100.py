_base_ = [
    '../_base_/pairs/wrn40_2_wrn16_2_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 3, 6],
    teacher_taps=[6, 12, 18],
    attention_loss=_base_.cat_loss.wrn40_2_wrn16_2,
)
