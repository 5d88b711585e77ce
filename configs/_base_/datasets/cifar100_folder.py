# CIFAR-100 as images in folders: <data_root>/{train,test}/<class>/<image>.
_base_ = 'cifar100.py'
data_root = '{{$CIFAR100_ROOT:data/cifar100}}'

data_preprocessor = dict(to_rgb=True)  # images are read in BGR order

load = [dict(type='LoadImageFromFile')]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=load + _base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='test',
        pipeline=load + _base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
