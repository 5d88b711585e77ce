# CIFAR-100 out of folders, held in memory; cropped, flipped and normalised by the batch.
_base_ = 'cifar100_folder.py'

data_preprocessor = dict(type='mmrazor.CropFlipDataPreprocessor', padding=4, flip_prob=0.5)

read = dict(
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,  # they are on the GPU where there is one
    collate_fn=dict(type='whole_batch'),
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmrazor.InMemory',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=[dict(type='LoadImageFromFile')]),
    ),
    **read,
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmrazor.InMemory',
        dataset=dict(_base_.val_dataloader.dataset, pipeline=[dict(type='LoadImageFromFile')]),
    ),
    **read,
)
test_dataloader = val_dataloader
