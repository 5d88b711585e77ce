"""Members of a cohort equal trainings alone, to the bit."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from networks import cifar_resnet_cfg

from lakd_mm.engine import ConfigError, cohort_config, export_student

DATASET = dict(
    type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits', split='train', indices=48)
)
READ = dict(batch_size=16, num_workers=0, collate_fn=dict(type='whole_batch'), dataset=DATASET)
TEACHER = dict(teacher=cifar_resnet_cfg(14), teacher_ckpt='teacher.pth')
FITNET = dict(loss=dict(type='mmrazor.L2Loss', loss_weight=2.0), at='stages')
BF16 = dict(
    optim_wrapper=dict(
        type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.05, momentum=0.9)
    )
)
KD = dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')
MODELS = {
    'lakd': dict(type='mmrazor.LAKD', architecture=cifar_resnet_cfg(8), **TEACHER),
    'kd': dict(
        type='mmrazor.Distill',
        architecture=cifar_resnet_cfg(8),
        transfers=dict(loss_kd=KD),
        **TEACHER,
    ),
    'fitnet': dict(
        type='mmrazor.Distill',
        architecture=cifar_resnet_cfg(14),
        transfers=dict(loss_fitnet=FITNET),
        **TEACHER,
    ),
    'scratch': cifar_resnet_cfg(8),
}


@pytest.fixture(autouse=True)
def teacher(tmp_path, monkeypatch):
    from mmrazor.registry import MODELS

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    torch.save(MODELS.build(cifar_resnet_cfg(14)).state_dict(), 'teacher.pth')


def config(name, epochs=2, lr=0.05, **kwargs):
    return Config(
        dict(
            model=MODELS[name],
            data_preprocessor=dict(
                type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3
            ),
            work_dir=f'alone/{name}',
            train_dataloader=dict(READ, sampler=dict(type='DefaultSampler', shuffle=True)),
            val_dataloader=dict(READ, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_evaluator=dict(type='mmpretrain.Accuracy'),
            val_cfg=dict(),
            train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
            param_scheduler=[dict(type='MultiStepLR', milestones=[1], gamma=0.1)],
            custom_hooks=[dict(type='EMAHook', momentum=0.1)],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto')
            ),
            randomness=dict(seed=3),
            default_scope='mmpretrain',
            experiment_name=f'{name}_{epochs}_{kwargs.pop("run", "")}',
        )
        | kwargs
    )


def train(cfg, **kwargs):
    runner = Runner.from_cfg(Config(dict(cfg.to_dict(), **kwargs)))
    runner.train()
    return runner


def cohort(names, run='', **kwargs):
    cfg = cohort_config({name: config(name, **kwargs) for name in names}, 'cohort')
    cfg.experiment_name = f'cohort_{len(names)}_{run}'
    return cfg


def differing(found, expected):
    """Where two checkpoints differ, times left aside."""
    assert found.keys() == expected.keys()
    pairs = {}
    for part in ('state_dict', 'ema_state_dict'):
        assert list(found[part]) == list(expected[part])
        pairs |= {k: (found[part][k], v) for k, v in expected[part].items()}
    momentum, wanted = (c['optimizer']['state'] for c in (found, expected))
    assert momentum.keys() == wanted.keys() != set()
    pairs |= {
        f'm{k}': (momentum[k]['momentum_buffer'], s['momentum_buffer']) for k, s in wanted.items()
    }
    assert found['optimizer']['param_groups'] == expected['optimizer']['param_groups']
    assert found['param_schedulers'] == expected['param_schedulers']
    logs, wanted = (c['message_hub']['log_scalars'] for c in (found, expected))
    assert logs.keys() == wanted.keys()
    pairs |= {
        k: tuple(map(torch.tensor, (logs[k].data[0], v.data[0])))
        for k, v in wanted.items()
        if not k.endswith('time')
    }
    return [key for key, (a, b) in pairs.items() if not torch.equal(a, b)]


def test_members_equal_trainings_alone(tmp_path):
    train(cohort(MODELS))
    for name in MODELS:
        train(config(name))
        alone, member = tmp_path / 'alone' / name, tmp_path / 'cohort' / name
        for epoch in (1, 2):
            file = f'epoch_{epoch}.pth'
            assert differing(torch.load(member / file), torch.load(alone / file)) == [], name
            first, second = (
                torch.load(f / file)['message_hub']['runtime_info'] for f in (member, alone)
            )
            assert first['best_score'] == second['best_score']
            assert Path(first['best_ckpt']) == member / Path(second['best_ckpt']).name
        best = [sorted(f.name for f in folder.glob('best_*')) for folder in (alone, member)]
        assert best[0] == best[1] != []
        weights = [torch.load(f / best[0][0])['state_dict'] for f in (alone, member)]
        assert all(torch.equal(weights[1][k], v) for k, v in weights[0].items())
    # A member's file is used as that of any training.
    export_student(str(tmp_path / 'cohort' / 'lakd' / 'epoch_2.pth'), str(tmp_path / 'lakd.pth'))
    cfg = config('kd', run='resumed', work_dir='resumed')
    train(cfg, resume=True, load_from='cohort/kd/epoch_1.pth')
    found, expected = (torch.load(f'{f}/epoch_2.pth') for f in ('resumed', 'alone/kd'))
    assert differing(found, expected) == []


def test_a_resumed_cohort_equals_an_unbroken_one(tmp_path):
    train(cohort(['lakd', 'scratch']))
    (tmp_path / 'cohort').rename(tmp_path / 'whole')
    cfg = cohort(['lakd', 'scratch'], run='resumed')
    train(cfg, resume=True, load_from='whole/epoch_1.pth')
    for name in ('lakd', 'scratch'):
        found, expected = (
            torch.load(tmp_path / folder / name / 'epoch_2.pth') for folder in ('cohort', 'whole')
        )
        assert differing(found, expected) == []


def test_seeds_start_students_apart():
    configs = {f's{seed}': config('kd', epochs=1, randomness=dict(seed=seed)) for seed in (3, 4)}
    cfg = cohort_config(configs, 'cohort')
    cfg.experiment_name = 'seeds'
    train(cfg)
    first, second = (torch.load(f'cohort/{name}/epoch_1.pth') for name in configs)
    assert not torch.equal(
        *(c['state_dict']['architecture.head.fc.weight'] for c in (first, second))
    )
    train(config('kd', epochs=1, run='alone'))
    assert differing(first, torch.load('alone/kd/epoch_1.pth')) == []


def test_a_member_that_diverges_is_stopped_and_named(tmp_path):
    names = ['scratch', 'kd']
    cfg = cohort(names, run='nan', epochs=1)
    cfg.optim_wrapper.members.kd.optimizer.lr = 1e30
    runner = train(cfg)
    assert runner.model.stopped == ('kd',)
    text = ''.join(p.read_text() for p in (tmp_path / 'cohort').rglob('*.log'))
    assert "losses of member 'kd' are not finite" in text
    train(config('scratch', epochs=1, run='nan'))
    found = torch.load('cohort/scratch/epoch_1.pth')
    assert differing(found, torch.load('alone/scratch/epoch_1.pth')) == []


def test_a_member_that_is_stopped_changes_no_other(tmp_path):
    class Stop(Hook):
        def after_val_epoch(self, runner, metrics):
            if runner.epoch == 1:
                runner.model.stop('kd')

    runner = Runner.from_cfg(cohort(['lakd', 'kd', 'scratch'], run='stop'))
    runner.register_hook(Stop())
    runner.train()
    assert runner.model.stopped == ('kd',)
    # The weights themselves, beside their moving averages.
    first, last = (torch.load(f'cohort/kd/epoch_{n}.pth')['ema_state_dict'] for n in (1, 2))
    assert [key for key, value in first.items() if not torch.equal(last[key], value)] == ['steps']
    for name in ('lakd', 'scratch'):
        train(config(name, run='stop'))
        found, alone = (torch.load(f'{f}/{name}/epoch_2.pth') for f in ('cohort', 'alone'))
        assert differing(found, alone) == []
    with pytest.raises(ConfigError, match="no member 'fitnet'; there are: lakd, kd, scratch"):
        runner.model.stop('fitnet')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(train_cfg=dict(by_epoch=True, max_epochs=9)), 'train_cfg of kd and lakd differ'),
        (dict(train_dataloader=dict(READ, batch_size=8)), 'train_dataloader of kd and lakd'),
        (
            dict(model=dict(MODELS['kd'], teacher_ckpt='another.pth')),
            'one teacher, but those of kd and lakd differ',
        ),
        (
            BF16,
            'its teacher in one precision, but kd trains in bfloat16 and lakd in float32',
        ),
        (
            dict(param_scheduler=dict(type='ReduceOnPlateauLR', monitor='accuracy/top1')),
            'kd: ReduceOnPlateauLR acts on a metric, .* leave it out, or train kd alone',
        ),
    ],
)
def test_trainings_that_differ_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        cohort_config({'lakd': config('lakd'), 'kd': config('kd', **change)}, 'cohort')


def test_in_the_resident_loop_members_equal_trainings_alone_in_the_stock_loop():
    names = ['lakd', 'scratch']
    resident = dict(type='mmrazor.ResidentTrainLoop', by_epoch=True, max_epochs=2)
    train(cohort(names, run='resident', train_cfg=resident))
    for name in names:
        train(config(name, run='resident'))
        found, alone = (torch.load(f'{f}/{name}/epoch_2.pth') for f in ('cohort', 'alone'))
        assert differing(found, alone) == []


def test_the_teacher_runs_in_the_precision_of_those_that_learn_from_it():
    """Not in that of a member without a teacher, which comes first."""
    configs = dict(scratch=config('scratch', epochs=1), kd=config('kd', epochs=1, **BF16))
    cfg = cohort_config(configs, 'cohort')
    cfg.experiment_name = 'precision'
    runner = train(cfg)
    train(config('kd', epochs=1, run='precision', **BF16))
    found, alone = (torch.load(f'{f}/kd/epoch_1.pth') for f in ('cohort', 'alone'))
    assert differing(found, alone) == []
    # Without them it does not run.
    runner.model.stop('kd')
    runner.model._run_teacher = None
    (batch,) = list(runner.train_dataloader)[:1]
    assert 'scratch.loss' in runner.model.train_step(batch, runner.optim_wrapper)


@pytest.mark.parametrize('where', ['custom_hooks', 'default_hooks'])
def test_trainings_that_stop_early_are_refused(where):
    """Each at another epoch; the hook would find no metric of its name."""
    hook = dict(type='mmengine.EarlyStoppingHook', monitor='accuracy/top1')
    hooks = [None, hook] if where == 'custom_hooks' else dict(timer=None, stop=hook)
    configs = {name: config(name, **{where: hooks}) for name in ('lakd', 'kd')}
    with pytest.raises(ConfigError, match='lakd: EarlyStoppingHook acts on a metric'):
        cohort_config(configs, 'cohort')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(members={}), 'at least one student'),
        (dict(members={'a.b': MODELS['scratch']}), "'a.b' is no name"),
    ],
)
def test_members_that_cannot_be(change, message):
    from mmrazor.registry import MODELS as registry

    with pytest.raises(ConfigError, match=message):
        registry.build(dict(type='mmrazor.Cohort', **change))


def test_a_member_with_a_teacher_of_its_own_is_refused():
    from mmrazor.registry import MODELS as registry

    member = {k: v for k, v in MODELS['lakd'].items() if not k.startswith('teacher')}
    cfg = dict(type='mmrazor.Cohort', members=dict(a=dict(member, teacher_twice=True)))
    with pytest.raises(ConfigError, match=r'members\.a: teacher_twice'):
        registry.build(dict(cfg, **TEACHER))


def test_plain_members_are_kept_out_of_memory_that_their_backward_corrupts():
    from mmrazor.registry import MODELS as registry

    member = cifar_resnet_cfg(8, norm_cfg=dict(type='GN', num_groups=4))
    model = registry.build(dict(type='mmrazor.Cohort', members=dict(a=member)))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert norms and all(len(norm._forward_pre_hooks) == 1 for norm in norms)
