# WRN-40-2 teaches WRN-16-2.
# Train the teacher first: teachers/wrn40_2_240e_cifar100.py.
_base_ = '../models/wrn_pair.py'

model = dict(
    architecture=dict(backbone=dict(depth=16, widen_factor=2), head=dict(in_channels=128)),
    teacher=dict(backbone=dict(depth=40, widen_factor=2), head=dict(in_channels=128)),
    teacher_ckpt='work_dirs/wrn40_2_240e_cifar100/epoch_240.pth',
)
