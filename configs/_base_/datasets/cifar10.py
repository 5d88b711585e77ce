# CIFAR-10 as MMPretrain reads it: downloaded where it is absent.
_base_ = 'cifar100.py'
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'

data_preprocessor = dict(
    num_classes=10,
    # Of the published teachers: 255 x (0.4914, 0.4822, 0.4465) and (0.2023, 0.1994, 0.201).
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
)

train_dataloader = dict(dataset=dict(type='mmpretrain.CIFAR10', data_root=data_root))
val_dataloader = dict(dataset=dict(type='mmpretrain.CIFAR10', data_root=data_root))
test_dataloader = val_dataloader
