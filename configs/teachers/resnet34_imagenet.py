_base_ = [
    'mmpretrain::_base_/models/resnet34.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_100e_linear.py',
    '../_base_/default_runtime.py',
]

data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor')
train_dataloader = dict(batch_size=128)
