_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').reviewkd
model.transfers.loss_reviewkd.loss.loss_weight = 1.0
model.transfers.loss_reviewkd.update(position='pre_relu', warmup=1)
# The literature's for this method.
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=256)
