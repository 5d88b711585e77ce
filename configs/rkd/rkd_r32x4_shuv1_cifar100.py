_base_ = [
    '../_base_/models/mobile_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet32x4_240e_cifar100.py.
model = _base_.pop('methods').rkd
model.update(
    architecture=dict(
        backbone=dict(type='mmrazor.CIFARShuffleNetV1'), head=dict(in_channels=960, init_cfg=None)
    ),
    teacher=dict(
        backbone=dict(type='mmrazor.CIFARResNet', depth=32, widen_factor=4),
        head=dict(in_channels=256),
    ),
    teacher_ckpt='work_dirs/resnet32x4_240e_cifar100/epoch_240.pth',
)
# The literature's for MobileNets and ShuffleNets; under this recipe our reading.
optim_wrapper = dict(optimizer=dict(lr=0.01))
