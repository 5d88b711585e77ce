_base_ = [
    '../_base_/pairs/r110_r32_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 6, 15],
    teacher_taps=[18, 36, 54],
    attention_loss=_base_.cat_loss.r110_r32,
)
