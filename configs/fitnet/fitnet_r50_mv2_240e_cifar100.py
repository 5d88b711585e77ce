_base_ = [
    '../_base_/models/mobile_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet50_240e_cifar100.py.
model = _base_.pop('methods').fitnet
model.update(
    architecture=dict(backbone=dict(type='mmrazor.CIFARMobileNetV2')),
    teacher=dict(
        backbone=dict(type='mmpretrain.ResNet_CIFAR', depth=50), head=dict(in_channels=2048)
    ),
    teacher_ckpt='work_dirs/resnet50_240e_cifar100/epoch_240.pth',
)
# The literature's for MobileNets and ShuffleNets.
optim_wrapper = dict(optimizer=dict(lr=0.01))
