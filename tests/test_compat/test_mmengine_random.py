"""A run that is resumed ends with the state of an unbroken one, to the bit."""

import pytest
import torch
from mmengine.runner import Runner
from networks import cifar_resnet_cfg

import lakd_mm  # noqa: F401

MEMORY = dict(
    dataset=dict(
        type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits', split='train', indices=48)
    ),
    num_workers=0,
    collate_fn=dict(type='whole_batch'),
)
STOCK = dict(
    dataset=dict(
        type='mmrazor.Digits',
        split='train',
        indices=48,
        pipeline=[
            dict(type='mmpretrain.RandomCrop', crop_size=32, padding=4),
            dict(type='mmpretrain.RandomFlip', prob=0.5),
            dict(type='mmpretrain.PackInputs'),
        ],
    ),
    num_workers=0,
    collate_fn=dict(type='default_collate'),
)
WORKERS = dict(STOCK, num_workers=2, persistent_workers=True)
ITERATIONS = dict(by_epoch=False, max_iters=6)


def runner(work_dir, loader, length, seed=0, **kwargs):
    preprocessor = 'mmrazor.CropFlipDataPreprocessor' if loader is MEMORY else None
    by_epoch = 'max_iters' not in length
    sampler = dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
    return Runner(
        model=dict(
            **cifar_resnet_cfg(8),
            data_preprocessor=dict(
                type=preprocessor or 'mmpretrain.ClsDataPreprocessor',
                mean=[78.0] * 3,
                std=[96.0] * 3,
            ),
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, batch_size=16, sampler=sampler),
        train_cfg=length,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1 if by_epoch else 3, by_epoch=by_epoch)
        ),
        log_processor=dict(by_epoch=by_epoch),
        randomness=dict(seed=seed),
        default_scope='mmpretrain',
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        **kwargs,
    )


def state(path):
    checkpoint = torch.load(path)
    momentum = checkpoint['optimizer']['state']
    losses = checkpoint['message_hub']['log_scalars']['train/loss'].data[0]
    return {
        **checkpoint['state_dict'],
        **{f'momentum {i}': s['momentum_buffer'] for i, s in momentum.items()},
        'losses': torch.tensor(losses[-3:]),
    }


@pytest.mark.parametrize('loader', [MEMORY, STOCK, WORKERS], ids=['memory', 'stock', 'workers'])
@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_resumed_equals_unbroken(tmp_path, loader, unit):
    length = dict(by_epoch=True, max_epochs=2) if unit == 'epoch' else ITERATIONS
    whole = runner(tmp_path / 'whole', loader, length)
    whole.train()
    first, last = (
        ('epoch_1.pth', 'epoch_2.pth') if unit == 'epoch' else ('iter_3.pth', 'iter_6.pth')
    )
    path = str(tmp_path / 'whole' / first)
    # A new process has drawn other random numbers by now.
    torch.rand(7)
    runner(tmp_path / 'resumed', loader, length, resume=True, load_from=path).train()
    expected, found = (state(tmp_path / name / last) for name in ('whole', 'resumed'))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_each_epoch_and_each_worker_draws_anew(tmp_path):
    """The same image in the same place of the order is cropped otherwise in each epoch."""
    made = runner(tmp_path, WORKERS, dict(by_epoch=True, max_epochs=2))
    seen = []
    made.train_loop.run_iter = lambda index, batch: seen.append(batch['inputs'])
    made.train_dataloader.sampler.shuffle = False
    made.call_hook = lambda name, **kwargs: None
    made.train()
    assert len(seen) == 6
    assert not any(torch.equal(first, second) for first, second in zip(seen[:3], seen[3:]))


def test_the_seed_of_a_checkpoint_gives_the_order_too(tmp_path):
    runner(tmp_path / 'first', MEMORY, dict(by_epoch=True, max_epochs=1), seed=None).train()
    path = str(tmp_path / 'first' / 'epoch_1.pth')
    later = runner(
        tmp_path / 'second',
        MEMORY,
        dict(by_epoch=True, max_epochs=2),
        seed=None,
        resume=True,
        load_from=path,
    )
    later.train()
    assert later.train_dataloader.sampler.seed == later.seed == torch.load(path)['meta']['seed']
