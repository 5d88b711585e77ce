# ResNet-32x4 teaches ResNet-8x4.
# Train the teacher first: teachers/resnet32x4_240e_cifar100.py.
_base_ = '../models/resnet_pair.py'

model = dict(
    architecture=dict(backbone=dict(depth=8, widen_factor=4), head=dict(in_channels=256)),
    teacher=dict(backbone=dict(depth=32, widen_factor=4), head=dict(in_channels=256)),
    teacher_ckpt='work_dirs/resnet32x4_240e_cifar100/epoch_240.pth',
)
