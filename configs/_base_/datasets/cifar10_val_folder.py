# A tenth of each class's training images validates; the test set is left for the end.
_base_ = 'cifar10_folder.py'

split = dict(type='mmrazor.class_share', share=0.9, seed=0)
train = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, dataset=train, **split))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        dataset=dict(train, pipeline=_base_.val_dataloader.dataset.pipeline),
        rest=True,
        **split,
    )
)
