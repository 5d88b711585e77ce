# ResNet-56 teaches ResNet-20.
_base_ = '../models/resnet_pair.py'

published = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet'
model = dict(
    architecture=dict(backbone=dict(depth=20)),
    teacher=dict(backbone=dict(depth=56)),
    teacher_ckpt=f'{published}/cifar100_resnet56-f2eff4c8.pt',
)
