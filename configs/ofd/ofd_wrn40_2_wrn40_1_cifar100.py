_base_ = [
    '../_base_/models/wrn_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/wrn40_2_240e_cifar100.py.
model = _base_.pop('methods').ofd
model.update(
    architecture=dict(backbone=dict(depth=40, widen_factor=1), head=dict(in_channels=64)),
    teacher=dict(backbone=dict(depth=40, widen_factor=2)),
    teacher_ckpt='work_dirs/wrn40_2_240e_cifar100/epoch_240.pth',
)
