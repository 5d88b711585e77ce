_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

# A small pair; train the teacher first, with teachers/resnet32_digits.py.
model = dict(
    _base_.method,
    architecture=dict(backbone=dict(depth=14), head=dict(num_classes=10)),
    teacher=dict(backbone=dict(depth=32), head=dict(num_classes=10)),
    teacher_ckpt='work_dirs/resnet32_digits/epoch_8.pth',
    taps=[1, 3, 6],
    teacher_taps=[5, 10, 15],
    attention_loss=_base_.cat_loss.r56_r20,
)
train_cfg = dict(max_epochs=8)
