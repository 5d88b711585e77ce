_base_ = [
    '../_base_/pairs/r32x4_r8x4_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 2, 3],
    teacher_taps=[5, 10, 15],
    attention_loss=_base_.cat_loss.r32x4_r8x4,
)
