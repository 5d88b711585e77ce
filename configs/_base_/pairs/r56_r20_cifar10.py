# ResNet-56 teaches ResNet-20.
_base_ = '../models/resnet_pair.py'

published = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet'
model = dict(
    architecture=dict(backbone=dict(depth=20), head=dict(num_classes=10)),
    teacher=dict(backbone=dict(depth=56), head=dict(num_classes=10)),
    teacher_ckpt=f'{published}/cifar10_resnet56-187c023a.pt',
)
