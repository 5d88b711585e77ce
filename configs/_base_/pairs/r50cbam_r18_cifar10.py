# ResNet-50 with CBAM teaches ResNet-18, both with the stem for small images.
# Train the teacher first: teachers/resnet50_cbam_cifar10.py.
_base_ = 'mmpretrain::_base_/models/resnet18_cifar.py'

model = dict(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(
        _base_.model,
        backbone=dict(_base_.model.backbone, type='mmrazor.CBAMResNet_CIFAR', depth=50),
        head=dict(_base_.model.head, in_channels=2048),
    ),
    teacher_ckpt='work_dirs/resnet50_cbam_cifar10/epoch_300.pth',
)
