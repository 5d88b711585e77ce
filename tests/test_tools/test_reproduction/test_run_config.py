from pathlib import Path

import pytest
from mmengine.config import Config

from lakd_mm.engine import ConfigError
from reproduction.run_config import identity, make_config, read_config
from reproduction.targets import Budget, Cell, find_target, method_cell, select

CONFIGS = Path(__file__).parents[3] / 'configs'


def config(cell, data='in_memory', teacher=None, recipe='300e', val_interval=1, **budget):
    cfg = read_config(CONFIGS, cell, recipe, data)
    return make_config(cfg, cell, Budget(recipe, **budget), teacher, val_interval)


def lakd(**kwargs):
    return config(method_cell('lakd', 'r56_r20', 'cifar100'), **kwargs)


def content(cfg):
    return cfg._cfg_dict.to_dict()


@pytest.mark.parametrize('other', ['', "_base_ = 'toy.py'\n"])
def test_what_the_config_left_alone_is_of_the_other_base(tmp_path, other):
    """Also where that base begins with the first, and through configs between the two."""
    changed = f'b = dict(c=20, f=6{", _delete_=True" if other else ""})'
    files = {
        '_base_/datasets/toy.py': 'a, b, e = 1, dict(c=2, d=3), [1]\ngone = dict(x=1)',
        '_base_/datasets/toy_stock.py': f'{other}a, e, more = 10, [2], 7\n{changed}',
        'between.py': "_base_ = './_base_/datasets/toy.py'\nb = dict(c=99)",
        'mine.py': "_base_ = 'between.py'\nb = dict(g=8)\nown = 5",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    cell = Cell('', '', '', 'toy', {'300e': 'mine.py'})
    first = dict(a=1, b=dict(c=99, d=3, g=8), e=[1], gone=dict(x=1), own=5)
    assert content(read_config(tmp_path, cell, '300e')) == first
    gone = dict(gone=dict(x=1)) if other else {}
    second = dict(a=10, b=dict(c=99, g=8, f=6), e=[2], own=5, more=7, **gone)
    assert content(read_config(tmp_path, cell, '300e', 'stock')) == second
    assert content(read_config(tmp_path, cell, '300e')) == first


def test_swapped_data_are_what_a_config_with_that_base_has(tmp_path):
    config = CONFIGS / 'lakd' / 'lakd_r56_r20_cifar100.py'
    text = config.read_text().replace('datasets/cifar100.py', 'datasets/cifar100_stock.py')
    (tmp_path / 'stock.py').write_text(text.replace('../', f'{CONFIGS}/'))
    cell = method_cell('lakd', 'r56_r20', 'cifar100')
    swapped = content(read_config(CONFIGS, cell, '300e', 'stock'))
    assert swapped == content(Config.fromfile(tmp_path / 'stock.py'))
    assert swapped != content(read_config(CONFIGS, cell, '300e'))


def test_data_without_a_base():
    cell = method_cell('lakd', 'r34_r18', 'imagenet')
    with pytest.raises(ConfigError, match='--data stock: .*imagenet_stock.py does not exist'):
        config(cell, data='stock')


def test_images_held_out_take_the_place_of_the_test_images():
    cfg = lakd(epochs=3, held_out=0.1)
    for loader, rest in ((cfg.train_dataloader, None), (cfg.val_dataloader, True)):
        split = loader.dataset.dataset
        assert (split.type, split.share, split.get('rest')) == ('mmrazor.class_share', 0.9, rest)
        assert 'test' not in str(split.dataset.get('split', 'train'))
    assert cfg.test_dataloader is None
    assert identity(cfg) != identity(lakd(epochs=3))
    assert cfg.default_hooks.epoch_record.type == 'mmrazor.EpochRecordHook'


def test_a_run_validates_saves_and_records_each_epoch():
    cfg = lakd(epochs=3)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (3, 1)
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.interval, checkpoint.max_keep_ckpts) == (1, -1)
    assert lakd().default_hooks.checkpoint.max_keep_ckpts == 2
    assert checkpoint.save_best == 'accuracy/top1'
    assert cfg.default_hooks.epoch_record.type == 'mmrazor.EpochRecordHook'
    assert cfg.custom_imports.imports == ['lakd_mm']
    assert lakd().train_cfg.max_epochs == 300


def test_an_interval_between_validations_is_no_other_run():
    cfg = lakd(epochs=3, val_interval=2)
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (2, 2)
    assert identity(cfg) == identity(lakd(epochs=3))
    stops = method_cell('causal_baseline', 'r56_r20', 'cifar10')
    stops.configs['300e'] = 'causal/causal_baseline_r20_cifar10.py'
    assert config(stops).train_cfg.val_interval == 1
    with pytest.raises(ConfigError, match='--val-interval 2: EarlyStoppingHook acts on the metric'):
        config(stops, val_interval=2)


def test_steps_move_with_the_epochs():
    cfg = lakd(recipe='240e', epochs=24)
    assert cfg.param_scheduler.milestones == [15, 18, 21]
    assert lakd(recipe='240e').param_scheduler.milestones == [150, 180, 210]
    assert lakd(recipe='240e', epochs=1).param_scheduler.milestones == [1, 1, 1]


@pytest.mark.parametrize('data', ['stock', 'in_memory'])
def test_a_fraction_is_of_the_innermost_training_set(data):
    cfg = lakd(fraction=0.1, data=data)
    dataset = cfg.train_dataloader.dataset
    dataset = dataset.dataset if data == 'in_memory' else dataset
    assert (dataset.type, dataset.share, dataset.seed) == ('mmrazor.class_share', 0.1, 0)
    assert dataset.dataset.type == 'mmrazor.CIFAR100' and dataset.dataset.split == 'train'
    assert cfg.val_dataloader == lakd(data=data).val_dataloader


def test_a_fraction_is_of_what_a_validation_split_leaves():
    (cell,) = select(find_target('causal'), ['kd'])
    outer = config(cell, fraction=0.95).train_dataloader.dataset.dataset
    assert (outer.type, outer.share) == ('mmrazor.class_share', 0.95)
    assert (outer.dataset.share, outer.dataset.get('rest', False)) == (0.9, False)
    assert 'share' not in outer.dataset.dataset


def test_memory_banks_fit_the_fraction():
    crd = method_cell('crd', 'r56_r20', 'cifar100')
    text = repr(content(config(crd)).get('model'))
    assert "'num_data': 50000" in text
    assert "'num_data': 5000}" in repr(content(config(crd, fraction=0.1)).get('model'))
    # 500 images a class, 3.5 rounded up.
    assert "'num_data': 400}" in repr(content(config(crd, fraction=0.007)).get('model'))


def test_options():
    assert lakd(options=(('model.taps', [2, 5, 9]),)).model.taps == [2, 5, 9]
    for key in ('train_cfg.max_epochs', 'model.teacher_ckpt'):
        with pytest.raises(ConfigError, match=f'--cfg-options {key}: the runs set this, with --e'):
            lakd(options=((key, 3),))
    with pytest.raises(ConfigError, match="no key 'tpas'. Did you mean 'taps'"):
        lakd(options=(('model.tpas', [2, 5, 9]),))


def test_identity_is_what_is_learnt_and_from_what():
    same = identity(lakd())
    root = (('train_dataloader.dataset.data_root', '/elsewhere'),)
    assert identity(lakd(options=root)) == same
    published = lakd().model.teacher_ckpt
    assert identity(lakd(teacher=f'/weights/{published.rpartition("/")[2]}')) == same
    others = [
        lakd(epochs=3),
        lakd(fraction=0.1),
        lakd(recipe='240e'),
        lakd(data='stock'),
        lakd(teacher='/weights/another.pth'),
        lakd(options=(('model.taps', [2, 5, 9]),)),
    ]
    assert len({same, *map(identity, others)}) == 1 + len(others)


def test_ablations_are_measured_beside_the_teacher():
    (cell,) = select(find_target('table5'), ['avg25_max75'])
    cfg = config(cell, data='folder_in_memory')
    types = [evaluator.type for evaluator in cfg.val_evaluator]
    assert types == [
        'mmpretrain.Accuracy',
        'mmrazor.ExtracurricularKnowledge',
        'mmrazor.TapDistances',
    ]
    hooks = [*cfg.default_hooks.values(), *(cfg.get('custom_hooks') or [])]
    assert [hook.type for hook in hooks].count('mmrazor.ModelForMetricsHook') == 1
    assert cfg.test_evaluator == Config.fromfile(CONFIGS / cell.configs['300e']).test_evaluator


def test_figure_1_has_fitnet_at_each_stage():
    (cell,) = select(find_target('fig1'), ['fitnet_stages'])
    assert config(cell).model.transfers.loss_fitnet.at == 'stages'
    plain = method_cell('fitnet', 'r56_r20', 'cifar100')
    assert config(plain).model.transfers.loss_fitnet.at != 'stages'
    assert identity(config(plain)) != identity(config(cell))
