_base_ = './kd_r56_r20_240e_cifar100.py'

# Train the second teacher first: teachers/resnet44_240e_cifar100.py.
teacher = _base_.model.teacher
model = dict(
    teacher=[teacher, dict(teacher, backbone=dict(teacher.backbone, depth=44))],
    teacher_ckpt=[
        _base_.model.teacher_ckpt,
        'work_dirs/resnet44_240e_cifar100/epoch_240.pth',
    ],
)
del teacher
