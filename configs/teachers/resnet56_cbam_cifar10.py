_base_ = 'resnet56_cifar10.py'

# load_from a ResNet-56 without attention: a few epochs at a small learning rate make it a teacher.
model = dict(backbone=dict(type='mmrazor.CBAMCIFARResNet'))
