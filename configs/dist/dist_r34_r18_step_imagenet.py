_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').dist
model.transfers.loss_dist.loss.tau = 1
train_dataloader = dict(batch_size=512)
