_base_ = [
    '../_base_/models/mobile_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/wrn40_2_240e_cifar100.py.
model = _base_.pop('methods').crd
model.update(
    architecture=dict(
        backbone=dict(type='mmrazor.CIFARShuffleNetV1'), head=dict(in_channels=960, init_cfg=None)
    ),
    teacher=dict(
        backbone=dict(type='mmrazor.CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128),
    ),
    teacher_ckpt='work_dirs/wrn40_2_240e_cifar100/epoch_240.pth',
)
# The literature's for MobileNets and ShuffleNets.
optim_wrapper = dict(optimizer=dict(lr=0.01))
