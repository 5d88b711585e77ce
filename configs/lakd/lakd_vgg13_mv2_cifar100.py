_base_ = [
    '../_base_/models/mobile_pair.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/vgg13_240e_cifar100.py.
model = _base_.pop('methods').lakd
model.attention_loss.update(normalize=True, loss_weight=15.0)
model.update(
    architecture=dict(backbone=dict(type='mmrazor.CIFARMobileNetV2')),
    teacher=dict(backbone=dict(type='mmrazor.CIFARVGG', depth=13), head=dict(in_channels=512)),
    teacher_ckpt='work_dirs/vgg13_240e_cifar100/epoch_240.pth',
    taps=[1, 4, 7, 'backbone.conv2'],
    teacher_taps=[2, 4, 6, 8],
)
# The literature's for MobileNets and ShuffleNets; under this recipe our reading.
optim_wrapper = dict(optimizer=dict(lr=0.01))
