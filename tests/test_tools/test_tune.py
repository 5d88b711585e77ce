"""The search: held-out images, studies, and a real one on digits."""

import os
import sqlite3
from types import SimpleNamespace

import optuna
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

import lakd_mm  # noqa: F401
from lakd_mm.errors import ConfigError
from reproduction.held_out import count_held_out, hold_out
from tuning.results import write_best
from tuning.space import read_space, with_values
from tuning.study import (
    check_optuna,
    counted,
    fail_interrupted,
    make_pruner,
    open_study,
    storage_errors,
    worker,
)
from tuning.trials import ReportHook, prepare

LR = 'optim_wrapper.optimizer.lr'


@pytest.fixture
def cfg(tiny_config):
    cfg = Config.fromfile(tiny_config)
    cfg.train_dataloader.dataset.indices = 320
    init_default_scope('mmpretrain')
    return cfg


def images_of(dataset):
    """Return the images of a data set as a list of bytes."""
    if hasattr(dataset, 'images'):
        return [image.numpy().tobytes() for image in dataset.images]
    return [
        dataset.get_data_info(i)['img'].transpose(2, 0, 1).tobytes() for i in range(len(dataset))
    ]


@pytest.mark.parametrize('in_memory', [False, True])
def test_held_out_images_are_no_others(cfg, in_memory):
    """Train and held-out images share none, are together the training images, and none of test."""
    del cfg.train_dataloader.dataset['indices'], cfg.val_dataloader.dataset['indices']
    if in_memory:
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            inner = dict(loader.dataset, pipeline=[])
            loader.dataset = dict(type='mmrazor.InMemory', dataset=inner)
    split = hold_out(cfg, 0.1)
    train, held = (DATASETS.build(split[f'{k}_dataloader'].dataset) for k in ('train', 'val'))
    whole, test = (DATASETS.build(cfg[f'{k}_dataloader'].dataset) for k in ('train', 'val'))
    assert (len(train), len(held), len(whole)) == (1302, 140, 1442)
    assert count_held_out(split) == 140
    # One by one: two scans may look alike.
    found = images_of(train) + images_of(held)
    assert sorted(found) == sorted(images_of(whole))
    assert len(set(images_of(held)) & set(images_of(test))) <= len(
        set(images_of(whole)) & set(images_of(test))
    )
    assert not set(images_of(train)) & set(images_of(held)) - duplicates(images_of(whole))
    assert split.test_dataloader is None and 'test' not in str(split.val_dataloader.dataset)


def duplicates(images):
    seen, twice = set(), set()
    for image in images:
        (twice if image in seen else seen).add(image)
    return twice


def test_held_out_images_are_read_as_test_images(cfg):
    cfg.train_dataloader.dataset.pipeline = [dict(type='mmpretrain.RandomFlip', prob=1.0)]
    split = hold_out(cfg, 0.25)
    assert split.val_dataloader.dataset.dataset.pipeline == cfg.val_dataloader.dataset.pipeline
    assert split.train_dataloader.dataset.dataset.pipeline[0].type == 'mmpretrain.RandomFlip'
    assert split.val_dataloader.batch_size == cfg.val_dataloader.batch_size
    assert 'share' not in cfg.train_dataloader.dataset


def test_images_that_a_config_leaves_out_stay_out(cfg):
    share = dict(type='mmrazor.class_share', share=0.5, seed=1)
    cfg.train_dataloader.dataset = dict(share, dataset=cfg.train_dataloader.dataset)
    cfg.val_dataloader.dataset = dict(share, rest=True, dataset=cfg.val_dataloader.dataset)
    whole = images_of(DATASETS.build(cfg.train_dataloader.dataset))
    split = hold_out(cfg, 0.25)
    train, held = (DATASETS.build(split[f'{k}_dataloader'].dataset) for k in ('train', 'val'))
    assert sorted(images_of(train) + images_of(held)) == sorted(whole)
    # They come from the whole training set, through the pipeline of the test images.
    assert split.val_dataloader.dataset.dataset.dataset.split == 'train'
    assert len(split.val_dataloader.dataset.dataset.dataset.pipeline) == 1


def test_memory_banks_have_the_images_that_train(cfg):
    cfg.model.bank = dict(num_data=1000)
    assert hold_out(cfg, 0.1).model.bank.num_data == 900


@pytest.mark.parametrize('share', [0, 1, -0.1, 1.5])
def test_a_share_out_of_range(cfg, share):
    with pytest.raises(ConfigError, match=f'--held-out {share}: give a share between 0 and 1'):
        hold_out(cfg, share)


def test_what_cannot_be_held_out(cfg):
    with pytest.raises(ConfigError, match='--held-out 0.01: it cannot be drawn.*leaves none'):
        count_held_out(hold_out(cfg, 0.01))
    several = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset])
    with pytest.raises(ConfigError, match='train_dataloader: several data sets in one'):
        hold_out(with_values(cfg, {'train_dataloader.dataset': several}), 0.1)
    with pytest.raises(ConfigError, match='the config has no val_evaluator'):
        hold_out(with_values(cfg, {'val_evaluator': None}), 0.1)
    with pytest.raises(ConfigError, match='needs train_cfg.max_epochs'):
        prepare(with_values(cfg, {'train_cfg': dict(by_epoch=False, max_iters=5)}))


def new_study(folder, name='a', pruner='none', **settings):
    return open_study(
        f'sqlite:///{folder}/study.db?timeout=0.2',
        name,
        'maximize',
        make_pruner(pruner, 1),
        dict(dict(metric='m', held_out=0.1), **settings),
    )


def test_a_study_is_gone_on_with_as_it_was_begun(tmp_path):
    first = new_study(tmp_path)
    first.tell(first.ask(), 3.0)
    assert [trial.value for trial in new_study(tmp_path).trials] == [3.0]
    with pytest.raises(ConfigError, match=r"study 'a' was begun with another held_out \(0.1, now"):
        new_study(tmp_path, held_out=0.2)
    assert new_study(tmp_path, name='b', held_out=0.2).trials == []


def test_a_foreign_study_is_refused(tmp_path):
    study = optuna.create_study(storage=f'sqlite:///{tmp_path}/study.db', study_name='a')
    study.tell(study.ask(), 1.0)
    with pytest.raises(ConfigError, match=r'begun with another metric \(None, now m\)'):
        new_study(tmp_path)


def test_a_storage_that_is_locked(tmp_path):
    study = new_study(tmp_path)
    with sqlite3.connect(tmp_path / 'study.db') as other:
        other.execute('BEGIN EXCLUSIVE')
        with pytest.raises(ConfigError, match='--storage sqlite:.*database is locked.*file free'):
            new_study(tmp_path)
        with pytest.raises(ConfigError, match='database is locked'), storage_errors('sqlite:///x'):
            study.ask()


@pytest.mark.parametrize(
    ('url', 'message'),
    [
        ('sqlite:////proc/none/a.db', r'--storage sqlite:////proc/none/a.db: '),
        ('nonsense', '--storage nonsense: ArgumentError'),
        ('oracel://me:secret@host/a', r'--storage oracel://me:\*\*\*@host/a: NoSuchModuleError'),
    ],
)
def test_a_storage_that_cannot_be_reached(url, message):
    with pytest.raises(ConfigError, match=message) as error:
        open_study(url, 'a', 'maximize', make_pruner('median', 1), {})
    assert 'secret' not in str(error.value)


def test_other_errors_are_not_the_storages():
    with pytest.raises(KeyError), storage_errors('sqlite:///x'):
        raise KeyError('a')


def test_interrupted_trials_are_asked_anew(tmp_path):
    study = new_study(tmp_path)
    mine, gone, early = study.ask(), study.ask(), study.ask()
    value = gone.suggest_float('a', 0, 1)
    mine.set_user_attr('worker', worker())
    dead = f'{worker().rpartition(":")[0]}:{free_process()}'
    gone.set_user_attr('worker', dead)
    early.set_user_attr('worker', dead)
    assert counted(study) == 3
    assert fail_interrupted(study) == 2 and fail_interrupted(study) == 0
    states = [trial.state.name for trial in study.trials]
    # The one that had no parameters yet is simply drawn anew.
    assert states == ['RUNNING', 'FAIL', 'FAIL', 'WAITING'] and counted(study) == 1
    assert study.ask().suggest_float('a', 0, 1) == value


def free_process():
    """Return the number of a process that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_without_optuna(monkeypatch):
    monkeypatch.setattr('tuning.study.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "lakd_mm\[tune\]"'):
        check_optuna()


def epoch_of(hook, epoch, values, stopped=(), epochs=3):
    """Let a hook see the validation of an epoch of a cohort; return whether training ends."""
    left = []
    runner = SimpleNamespace(
        epoch=epoch,
        max_epochs=epochs,
        model=SimpleNamespace(stopped=stopped, stop=left.append),
        train_loop=SimpleNamespace(stop_training=False),
    )
    hook.after_val_epoch(runner, {f'{name}/acc': value for name, value in values.items()})
    return left, runner.train_loop.stop_training


def test_bad_and_diverged_members_are_stopped(tmp_path):
    study = new_study(tmp_path, pruner='median')
    for value in (50, 60, 70, 80, 90):
        trial = study.ask()
        trial.report(value, 1)
        study.tell(trial, value)
    trials = {name: study.ask() for name in ('good', 'bad', 'nan')}
    told = []
    hook = ReportHook(trials, 'acc', lambda *args: told.append(args))
    assert epoch_of(hook, 1, dict(good=75, bad=40, nan=10), ['nan']) == (['bad'], False)
    assert told == [(5, 1, 75.0), (6, 1, 40.0)]
    assert epoch_of(hook, 2, dict(good=80, bad=40, nan=10), ['nan', 'bad']) == ([], False)
    assert epoch_of(hook, 3, dict(good=81, bad=40, nan=10), ['nan', 'bad']) == ([], True)
    ends = [(number, o.how, o.epoch, o.value) for number, o in sorted(hook.outcomes.items())]
    assert ends == [(5, 'complete', 3, 81.0), (6, 'pruned', 1, 40.0), (7, 'diverged', 0, None)]
    with pytest.raises(ConfigError, match='--metric acc: the validation gives nothing'):
        ReportHook({'': study.ask()}, 'acc', print).after_val_epoch(
            SimpleNamespace(epoch=1, model=None), dict(nothing=1)
        )


def test_the_best_config_inherits_the_searched_one(cfg, tiny_config, tmp_path):
    space = read_space(
        [f'{LR}=log:0.1:1', 'param_scheduler.0.gamma=float:0:1', 'model.neck=choice:{type: A},null']
    )
    study = new_study(tmp_path)
    proposals = []
    for value in (1.0, 2.0, 1.5):
        trial = study.ask()
        proposals.append({one.key: one.suggest(trial) for one in space})
        study.tell(trial, value)
    path = tmp_path / 'deep' / 'best.py'
    write_best(study, cfg, str(tiny_config), space, path, 'held out')
    assert path.read_text().startswith("# Trial 1: m 2, held out.\n_base_ = '../tiny.py'\n")
    written, plain = Config.fromfile(path), Config.fromfile(tiny_config)
    wanted = with_values(plain, proposals[1])
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_dataloader'):
        assert written[key] == wanted[key]
    assert written.model != plain.model


@pytest.mark.slow
def test_a_search_that_is_gone_on_with(run_tool, tiny_config, tmp_path):
    options = [tiny_config, '--space', f'{LR}=log:0.001:1', 'model.backbone.depth=choice:8,14']
    options += ['--held-out', '0.2', '--work-dir', str(tmp_path / 'w')]
    options += ['--cfg-options', 'train_dataloader.dataset.indices=320']
    (tmp_path / 'first.yml').write_text(f'- {{{LR}: 0.25}}')
    options += ['--first', 'first.yml']
    first = run_tool('tune.py', *options, '--trials', '3', '--together', '2')
    assert first.returncode == 0, first.stdout
    assert 'measured on 60 training images' in first.stdout
    assert first.stdout.count('epoch 1/1') == 3 and '| best ' in first.stdout
    second = run_tool('tune.py', *options, '--trials', '4')
    assert second.returncode == 0, second.stdout
    assert (
        'trial 3   begins' in second.stdout and 'trial 2 ' not in second.stdout.split('| best')[0]
    )
    study = optuna.load_study(storage=f'sqlite:///{tmp_path}/w/study.db', study_name='tiny')
    assert [trial.state.name for trial in study.trials] == ['COMPLETE'] * 4
    assert [trial.params[LR] == 0.25 for trial in study.trials] == [True, False, False, False]
    assert all(set(trial.intermediate_values) == {1} for trial in study.trials)
    for name in ('history', 'epochs'):
        assert (tmp_path / 'w' / f'{name}.png').stat().st_size > 1000
    assert not list((tmp_path / 'w').rglob('*.pth'))

    best = Config.fromfile(tmp_path / 'w' / 'best.py')
    assert best.optim_wrapper.optimizer.lr == study.best_params[LR]
    init_default_scope('mmpretrain')
    assert MODELS.build(best.model).backbone.depth == study.best_params['model.backbone.depth']
    # The test images are its own again.
    assert best.val_dataloader == Config.fromfile(tiny_config).val_dataloader
    third = run_tool('tune.py', *options, '--trials', '4', '--held-out', '0.1')
    assert third.returncode == 1 and 'error: the study' in third.stdout
    assert 'begun with another' in third.stdout.strip().splitlines()[-1]
