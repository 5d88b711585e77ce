_base_ = [
    '../_base_/models/lakd_r34_r18.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_100e_linear.py',
    '../_base_/default_runtime.py',
]

data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor')
train_dataloader = dict(batch_size=128)
model = dict(
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet34_8xb32_in1k_20210831-f257d4e6.pth'
)
