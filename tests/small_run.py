"""A training of seconds in this process: 48 digits, 3 iterations an epoch."""

from mmengine.runner import Runner
from networks import cifar_resnet_cfg


def small_runner(work_dir, epochs=1, batches=None, checkpoint=(), **kwargs):
    """A Runner; ``checkpoint`` are options of CheckpointHook, ``batches`` of the data loader."""
    dataset = dict(type='mmrazor.Digits', split='train', indices=48)
    loader = dict(
        batch_size=16,
        dataset=dict(type='mmrazor.InMemory', dataset=dataset),
        num_workers=0,
        collate_fn=dict(type='whole_batch'),
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    preprocessor = dict(type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3)
    defaults = dict(
        model=dict(**cifar_resnet_cfg(8), data_preprocessor=preprocessor),
        train_dataloader={**loader, **(batches or {})},
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, **dict(checkpoint))),
        randomness=dict(seed=0),
        default_scope='mmpretrain',
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
    )
    return Runner(work_dir=str(work_dir), **{**defaults, **kwargs})


def validation():
    """Options of :func:`small_runner` that validate on 16 digits."""
    dataset = dict(type='mmrazor.Digits', indices=16)
    loader = dict(
        batch_size=16,
        num_workers=0,
        dataset=dict(type='mmrazor.InMemory', dataset=dataset),
        collate_fn=dict(type='whole_batch'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    evaluator = dict(type='mmpretrain.Accuracy')
    return dict(val_dataloader=loader, val_evaluator=evaluator, val_cfg=dict())
