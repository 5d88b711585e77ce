_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar10_val.py',
    '../_base_/schedules/cifar_30e_early_stop.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet56_cbam_cifar10.py.
model = _base_.pop('methods').causal_kd_fa
model.update(
    architecture=dict(backbone=dict(depth=20), head=dict(num_classes=10)),
    teacher=dict(
        backbone=dict(type='mmrazor.CBAMCIFARResNet', depth=56), head=dict(num_classes=10)
    ),
    teacher_ckpt='work_dirs/resnet56_cbam_cifar10/epoch_300.pth',
)
