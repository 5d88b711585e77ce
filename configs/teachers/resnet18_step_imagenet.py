_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=512)
