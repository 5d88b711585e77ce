_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/classification.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').crd
model.transfers.loss_crd.loss.num_data = 1281167
# The literature's for this method.
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=256)
