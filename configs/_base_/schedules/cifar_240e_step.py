# The distillation literature's recipe for CIFAR-100: 240 epochs, three steps, no Nesterov.
_base_ = 'cifar_300e_linear.py'

optim_wrapper = dict(optimizer=dict(nesterov=False))
param_scheduler = dict(_delete_=True, type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1)
train_cfg = dict(max_epochs=240)
