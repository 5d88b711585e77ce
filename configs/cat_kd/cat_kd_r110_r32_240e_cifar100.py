_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

# Train the teacher first: teachers/resnet110_240e_cifar100.py.
model = _base_.pop('methods').cat_kd
model.transfers.loss_cat.loss.update(loss_weight=1.8)
model.update(
    architecture=dict(backbone=dict(depth=32)),
    teacher=dict(backbone=dict(depth=110)),
    teacher_ckpt='work_dirs/resnet110_240e_cifar100/epoch_240.pth',
)
