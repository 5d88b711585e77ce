# CIFAR-10 as images in folders: <data_root>/{train,test}/<class>/<image>.
_base_ = 'cifar10.py'
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'

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
