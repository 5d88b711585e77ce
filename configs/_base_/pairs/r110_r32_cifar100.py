# ResNet-110 teaches ResNet-32.
# Train the teacher first: teachers/resnet110_240e_cifar100.py.
_base_ = '../models/resnet_pair.py'

model = dict(
    architecture=dict(backbone=dict(depth=32)),
    teacher=dict(backbone=dict(depth=110)),
    teacher_ckpt='work_dirs/resnet110_240e_cifar100/epoch_240.pth',
)
