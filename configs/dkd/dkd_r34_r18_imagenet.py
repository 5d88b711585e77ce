_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_linear.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').dkd
model.transfers.loss_dkd.loss.update(tau=1, beta=0.5)
model.transfers.loss_dkd.warmup = 1
