_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').ofd
model.update(
    architecture=dict(backbone=dict(depth=20), head=dict(num_classes=10)),
    teacher=dict(backbone=dict(depth=56), head=dict(num_classes=10)),
    teacher_ckpt='https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/'
    'cifar10_resnet56-187c023a.pt',
)
