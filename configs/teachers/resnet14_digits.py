_base_ = [
    '../_base_/models/resnet_cifar.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=14), head=dict(num_classes=10))
train_cfg = dict(max_epochs=8)
