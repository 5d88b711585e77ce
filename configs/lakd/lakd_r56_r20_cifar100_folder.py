_base_ = [
    '../_base_/pairs/r56_r20_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100_folder.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 4, 9],
    teacher_taps=[9, 18, 27],
    attention_loss=_base_.cat_loss.r56_r20,
)
