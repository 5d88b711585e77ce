# ResNet-56 with CBAM teaches ResNet-20: the small pair.
# Train the teacher first, see configs/causal/README.md.
_base_ = 'r56_r20_cifar10.py'

model = dict(
    teacher=dict(backbone=dict(type='mmrazor.CBAMCIFARResNet')),
    teacher_ckpt='work_dirs/resnet56_cbam_cifar10/epoch_300.pth',
)
