# CIFAR-100 through MMPretrain's pipeline, image by image in worker processes.
_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'
data_root = '{{$CIFAR100_ROOT:data/cifar100}}'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    # Of the published teachers: 255 x (0.507, 0.4865, 0.4409) and (0.2673, 0.2564, 0.2761).
    mean=[129.285, 124.0575, 112.4295],
    std=[68.1615, 65.382, 70.4055],
)

dataset = dict(type='mmrazor.CIFAR100', data_root=data_root)
train_dataloader = dict(batch_size=64, persistent_workers=True, dataset=dataset)
val_dataloader = dict(batch_size=256, persistent_workers=True, dataset=dataset)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
