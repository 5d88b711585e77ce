# VGG13 teaches VGG8.
# Train the teacher first: teachers/vgg13_240e_cifar100.py.
_base_ = '../models/vgg_pair.py'

model = dict(
    architecture=dict(backbone=dict(depth=8)),
    teacher=dict(backbone=dict(depth=13)),
    teacher_ckpt='work_dirs/vgg13_240e_cifar100/epoch_240.pth',
)
