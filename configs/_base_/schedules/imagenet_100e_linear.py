# LAKD's recipe for ImageNet: 100 epochs at batch 128, the learning rate falling linearly to 0.
_base_ = 'cifar_300e_linear.py'

optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=128)
