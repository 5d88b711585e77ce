_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    taps=[1, 2, 3, 4],
    teacher_taps=[2, 4, 6, 8],
    attention_loss=_base_.cat_loss.vgg13_vgg8,
)
