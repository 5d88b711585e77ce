# CIFAR-10 through MMPretrain's pipeline, image by image in worker processes.
_base_ = 'mmpretrain::_base_/datasets/cifar10_bs16.py'
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    # Of the published teachers: 255 x (0.4914, 0.4822, 0.4465) and (0.2023, 0.1994, 0.201).
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
)

dataset = dict(type='mmrazor.CIFAR10', data_root=data_root)
train_dataloader = dict(batch_size=64, persistent_workers=True, dataset=dataset)
val_dataloader = dict(batch_size=256, persistent_workers=True, dataset=dataset)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
