# Small images in folders, <class>/*.jpg, held in memory, and cropped, flipped and normalised by the
# batch. A config names the folders: tools/new_config.py writes one.
_base_ = 'folder.py'

data_preprocessor = dict(type='mmrazor.CropFlipDataPreprocessor', padding=4, flip_prob=0.5)

held = dict(
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,  # they are on the GPU where there is one
    collate_fn=dict(_delete_=True, type='whole_batch'),
    dataset=dict(_delete_=True, type='mmrazor.InMemory'),
)
train_dataloader = held
val_dataloader = held
test_dataloader = val_dataloader
