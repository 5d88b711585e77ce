_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').wsld
model.transfers.loss_wsld.loss.update(tau=2, loss_weight=2.5)
train_dataloader = dict(batch_size=512)
