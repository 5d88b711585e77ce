_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').mgd
model.transfers.loss_mgd['at'] = [4]
train_dataloader = dict(batch_size=512)
