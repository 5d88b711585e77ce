_base_ = [
    '../_base_/models/vgg_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/vgg13_240e_cifar100.py.
model = _base_.pop('methods').rkd
model.update(
    architecture=dict(backbone=dict(depth=8)),
    teacher=dict(backbone=dict(depth=13)),
    teacher_ckpt='work_dirs/vgg13_240e_cifar100/epoch_240.pth',
)
