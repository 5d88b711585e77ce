# The distillation literature's recipe for ImageNet: 100 epochs at batch 512, three steps.
_base_ = 'imagenet_100e_linear.py'

optim_wrapper = dict(optimizer=dict(lr=0.2, nesterov=False))
param_scheduler = dict(_delete_=True, type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)
auto_scale_lr = dict(base_batch_size=512)
