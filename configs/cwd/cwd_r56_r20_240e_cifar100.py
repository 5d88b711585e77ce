_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').cwd
model.update(
    architecture=dict(backbone=dict(depth=20)),
    teacher=dict(backbone=dict(depth=56)),
    teacher_ckpt='https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/'
    'cifar100_resnet56-f2eff4c8.pt',
)
