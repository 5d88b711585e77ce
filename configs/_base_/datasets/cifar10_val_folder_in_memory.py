# A tenth of each class's training images validates; the test set is left for the end.
_base_ = 'cifar10_folder_in_memory.py'

split = dict(type='mmrazor.class_share', share=0.9, seed=0)
train = _base_.train_dataloader.dataset.dataset
train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, dataset=train, **split)))
val_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, dataset=train, rest=True, **split)))
