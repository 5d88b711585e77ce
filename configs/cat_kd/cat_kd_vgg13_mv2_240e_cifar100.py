_base_ = [
    '../_base_/models/mobile_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/vgg13_240e_cifar100.py.
model = _base_.pop('methods').cat_kd
model.transfers.loss_cat.loss.update(normalize=True, loss_weight=15.0)
model.update(
    architecture=dict(backbone=dict(type='mmrazor.CIFARMobileNetV2')),
    teacher=dict(backbone=dict(type='mmrazor.CIFARVGG', depth=13), head=dict(in_channels=512)),
    teacher_ckpt='work_dirs/vgg13_240e_cifar100/epoch_240.pth',
)
# The literature's for MobileNets and ShuffleNets.
optim_wrapper = dict(optimizer=dict(lr=0.01))
