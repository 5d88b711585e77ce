_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet32_digits.py.
model = _base_.pop('methods').lakd
model.attention_loss.update(loss_weight=0.7)
model.update(
    architecture=dict(backbone=dict(depth=14), head=dict(num_classes=10)),
    teacher=dict(backbone=dict(depth=32), head=dict(num_classes=10)),
    teacher_ckpt='work_dirs/resnet32_digits/epoch_8.pth',
    taps=[1, 3, 6],
    teacher_taps=[5, 10, 15],
)
train_cfg = dict(max_epochs=8)
