_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/literature.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').lskd
# Its authors' for ImageNet.
model.ce_weight = 0.5
model.transfers.loss_lskd.loss.update(tau=1, loss_weight=0.5)
# Its authors'.
train_dataloader = dict(batch_size=512)
optim_wrapper = dict(optimizer=dict(lr=0.1))
