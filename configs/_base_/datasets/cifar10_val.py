# A tenth of each class's training images validates; the test set is left for the end.
_base_ = 'cifar10.py'

split = dict(type='mmrazor.class_share', share=0.9, seed=0, dataset=_base_.train)
train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **split)))
val_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, rest=True, **split)))
