"""LAKD through MMEngine's Runner: images in memory, moving averages, accumulation, resuming."""

import torch
from mmengine.runner import Runner
from networks import cifar_resnet_cfg

import lakd_mm  # noqa: F401


def runner_cfg(work_dir, epochs, **kwargs):
    dataset = dict(
        type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits', split='train', indices=48)
    )
    read = dict(batch_size=16, num_workers=0, collate_fn=dict(type='whole_batch'), dataset=dataset)
    return dict(
        model=dict(
            type='mmrazor.LAKD',
            architecture=cifar_resnet_cfg(8),
            teacher=cifar_resnet_cfg(14),
            data_preprocessor=dict(
                type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3
            ),
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(read, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(read, sampler=dict(type='DefaultSampler', shuffle=False)),
        val_evaluator=dict(type='mmpretrain.Accuracy'),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True),
            clip_grad=dict(max_norm=5.0),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        randomness=dict(seed=0),
        default_scope='mmpretrain',
        experiment_name=f'{work_dir.name}_{epochs}_{len(kwargs)}',
        **kwargs,
    )


def weights(path):
    """The student's, the teacher's, and their moving averages."""
    checkpoint = torch.load(path)
    averages = {f'ema.{k}': v for k, v in checkpoint['ema_state_dict'].items()}
    assert len(averages) >= len(checkpoint['state_dict'])
    return {**checkpoint['state_dict'], **averages}


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path):
    whole = Runner(**runner_cfg(tmp_path / 'whole', 2))
    whole.train()
    teacher = {k: v for k, v in whole.model.state_dict().items() if k.startswith('teacher.')}

    Runner(**runner_cfg(tmp_path / 'parts', 2, resume=False)).train()
    first = str(tmp_path / 'parts' / 'epoch_1.pth')
    resumed = Runner(**runner_cfg(tmp_path / 'resumed', 2, resume=True, load_from=first))
    resumed.train()
    assert resumed.epoch == 2 and resumed.iter == 6
    assert [file.name for file in (tmp_path / 'resumed').glob('*.pth')] == ['epoch_2.pth']

    expected = weights(tmp_path / 'whole' / 'epoch_1.pth')
    found = weights(first)
    assert all(torch.equal(expected[k], found[k]) for k in expected)
    last = weights(tmp_path / 'resumed' / 'epoch_2.pth')
    student = [k for k in last if k.startswith('architecture.') and k.endswith('conv1.weight')]
    assert student and all(not torch.equal(last[k], found[k]) for k in student)
    assert all(torch.equal(last[k], v) for k, v in teacher.items())
    expected = weights(tmp_path / 'whole' / 'epoch_2.pth')
    assert [k for k in expected if not torch.equal(expected[k], last[k])] == []


def test_resuming_without_the_teacher_in_checkpoints(tmp_path):
    cfg = runner_cfg(tmp_path / 'first', 1)
    cfg['model']['save_teacher'] = False
    Runner(**cfg).train()
    path = str(tmp_path / 'first' / 'epoch_1.pth')
    assert not any('teacher.' in key for key in weights(path))
    cfg = runner_cfg(tmp_path / 'second', 2, resume=True, load_from=path)
    cfg['model']['save_teacher'] = False
    resumed = Runner(**cfg)
    resumed.train()
    assert resumed.epoch == 2
