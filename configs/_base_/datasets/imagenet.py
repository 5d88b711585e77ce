# ImageNet as MMPretrain reads it, in batches of the LAKD paper.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'
data_root = '{{$IMAGENET_ROOT:data/imagenet}}'

data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor')
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
