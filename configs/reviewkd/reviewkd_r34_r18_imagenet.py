_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_linear.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').reviewkd
model.transfers.loss_reviewkd.loss.loss_weight = 1.0
model.transfers.loss_reviewkd.update(position='pre_relu', warmup=1)
