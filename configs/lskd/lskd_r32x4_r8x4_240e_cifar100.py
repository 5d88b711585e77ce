_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet32x4_240e_cifar100.py.
model = _base_.pop('methods').lskd
model.update(
    architecture=dict(backbone=dict(depth=8, widen_factor=4), head=dict(in_channels=256)),
    teacher=dict(backbone=dict(depth=32, widen_factor=4), head=dict(in_channels=256)),
    teacher_ckpt='work_dirs/resnet32x4_240e_cifar100/epoch_240.pth',
)
