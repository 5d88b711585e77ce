# CIFAR-10, from the pickles or from folders of images; held in memory, and cropped, flipped and
# normalised by the batch.
_base_ = 'cifar10_stock.py'

data_preprocessor = dict(type='mmrazor.CropFlipDataPreprocessor', padding=4, flip_prob=0.5)

held = dict(
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,  # they are on the GPU where there is one
    collate_fn=dict(type='whole_batch'),
)
train = dict(_base_.train_dataloader.dataset, pipeline=[])
train_dataloader = dict(dataset=dict(_delete_=True, type='mmrazor.InMemory', dataset=train), **held)
test = dict(_base_.test_dataloader.dataset, pipeline=[])
val_dataloader = dict(dataset=dict(_delete_=True, type='mmrazor.InMemory', dataset=test), **held)
test_dataloader = val_dataloader
