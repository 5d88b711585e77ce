import pytest
from mmengine.config import Config

import lakd_mm  # noqa: F401
from lakd_mm.engine import (
    ConfigError,
    check_amp,
    check_data_folders,
    check_options,
    config_checks,
    near_name,
)


@pytest.fixture
def cfg():
    return Config(
        dict(
            model=dict(type='LAKD', teacher_ckpt=None, taps=[1, 4, 9], detach=True),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
            param_scheduler=[dict(type='MultiStepLR', milestones=[1, 2])],
            train_cfg=dict(by_epoch=True, max_epochs=300),
        )
    )


@pytest.mark.parametrize(
    'key, value',
    [
        ('train_cfg.max_epochs', 2),
        ('optim_wrapper.optimizer.lr', 1),
        ('train_cfg.max_epochs', 2.0),
        ('model.teacher_ckpt', 'a.pth'),
        ('model.teacher_ckpt', None),
        ('model.taps', None),
        ('model.taps', (3, 6, 9)),
        ('model.detach', 0),
        ('param_scheduler.0.milestones', [3]),
        ('param_scheduler.0.gamma', 0.1),
        ('optim_wrapper.clip_grad.max_norm', 5),
        ('default_hooks.checkpoint.interval', 5),
        ('model.teacher_taps', [9, 18, 27]),
    ],
)
def test_accepted_options(cfg, key, value):
    check_options(cfg, {key: value})
    cfg.merge_from_dict({key: value})


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('model', 3, '=3: that is a number, the config has a dict.*model.taps'),
        ('train_cfg.max_epochs', 'ten', r'a string, the config has a number \(300\)'),
        ('optim_wrapper.optimizer.lr', [0, 1], r'a list, the config has a number \(0.1\)'),
        ('optim_wrapper.optimizer.type', 1, r"a number, the config has a string \('SGD'\)"),
        ('param_scheduler.0.milestones', 60, r'"param_scheduler.0.milestones=\[60\]"'),
        ('model.detach', 'Flase', r'a string, the config has a bool \(True\)'),
        ('train_cfg.max_epochs', True, 'a bool, the config has a number'),
        ('train_cfg.max_epoch', 2, "no key 'max_epoch'. Did you mean 'max_epochs'"),
        ('model.techer_ckpt', 'a', "model has no key 'techer_ckpt'. Did you mean 'teacher_ckpt'"),
        ('optim_wraper.optimizer.lr', 1, "the config has no key 'optim_wraper'"),
        ('optim_wrapper.optimizer.lr.x', 1, 'optim_wrapper.optimizer.lr is 0.1 in the config'),
        ('model.teacher_ckpt.path', 'a', 'model.teacher_ckpt is None in the config'),
        ('param_scheduler.1.milestones', [3], "list of 1, and '1' is no index"),
        ('param_scheduler.0.milestones.1', 3, 'cannot change one element of param_scheduler.0.mi'),
        ('param_scheduler.milestones', [3], "'milestones' is no index.*param_scheduler.0"),
    ],
)
def test_refused_options(cfg, key, value, message):
    with pytest.raises(ConfigError, match=f'--cfg-options {key}.*{message}'):
        check_options(cfg, {key: value})


def test_a_data_root_that_would_change_nothing(root):
    cfg = Config.fromfile(root / 'configs/lakd/lakd_r56_r20_cifar100.py')
    keys = [f'{split}_dataloader.dataset.dataset.data_root' for split in ('train', 'val', 'test')]
    with pytest.raises(ConfigError, match=f'CIFAR100_ROOT.*, or {", ".join(keys)}'):
        check_options(cfg, {'data_root': 'elsewhere'})
    for key in keys:
        check_options(cfg, {key: 'elsewhere'})


def test_near_names():
    assert near_name('detph', ['depth', 'width']) == 'depth'
    assert near_name('loss_2', ['loss_1']) is None
    assert near_name('loss21', ['loss12']) is None
    assert near_name('save_begin', ['save_best', 'interval']) is None
    assert near_name('clip_grad', ['type', 'optimizer']) is None


def data_cfg(**dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset), val_dataloader=None))


def test_absent_data(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'labels.txt').touch()
    folder = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path))
    check_data_folders(data_cfg(**folder, data_prefix='train'))
    check_data_folders(data_cfg(**folder, data_prefix=dict(img_path='train')))
    check_data_folders(data_cfg(**folder, ann_file='labels.txt'))
    for wrong, key in [
        (dict(data_root='nowhere'), 'data_root: nowhere'),
        (dict(data_prefix='test'), 'data_prefix: test'),
        (dict(data_prefix=dict(img_path='test')), 'data_prefix.img_path: test'),
        (dict(ann_file='absent.txt'), 'ann_file: absent.txt'),
    ]:
        with pytest.raises(ConfigError, match=rf'^train_dataloader.dataset.{key} does not exist'):
            check_data_folders(data_cfg(**{**folder, **wrong}))


def test_absent_data_in_wrappers():
    absent = dict(type='mmpretrain.CustomDataset', data_root='nowhere')
    repeated = data_cfg(type='RepeatDataset', times=2, dataset=absent)
    with pytest.raises(ConfigError, match=r'^train_dataloader.dataset.dataset.data_root: nowhere'):
        check_data_folders(repeated)
    joined = data_cfg(type='ConcatDataset', datasets=[dict(type='mmrazor.Digits'), absent])
    with pytest.raises(ConfigError, match=r'^train_dataloader.dataset.datasets.1.data_root'):
        check_data_folders(joined)


def test_data_that_download_may_be_absent():
    check_data_folders(data_cfg(type='mmpretrain.CIFAR100', data_root='nowhere'))
    check_data_folders(data_cfg(type='CIFAR10', data_root='nowhere'))
    with pytest.raises(ConfigError, match='data_root: nowhere'):
        check_data_folders(data_cfg(type='CIFAR10', data_root='nowhere', download=False))


@pytest.mark.parametrize('kind', ['CIFAR10', 'CIFAR100'])
def test_a_root_of_ours_that_holds_neither_pickles_nor_folders(tmp_path, kind):
    ours = dict(type=f'mmrazor.{kind}', data_root=str(tmp_path))
    held = data_cfg(type='mmrazor.InMemory', dataset=ours)
    check_data_folders(held)
    with pytest.raises(ConfigError, match='is empty or does not exist'):
        check_data_folders(data_cfg(**ours, download=False))
    (tmp_path / 'images').mkdir()
    message = rf'^train_dataloader.dataset.dataset.data_root: \S+ holds images .*{kind}_ROOT'
    with pytest.raises(ConfigError, match=message):
        check_data_folders(held)
    (tmp_path / 'train').mkdir()
    check_data_folders(held)


def test_only_the_named_splits_are_checked():
    cfg = data_cfg(type='mmpretrain.CustomDataset', data_root='nowhere')
    check_data_folders(cfg, splits=['test'])


@pytest.mark.parametrize(
    ('device', 'dtype', 'message'),
    [
        ('mps', None, '--amp: mixed precision .* does not run on MPS'),
        ('cpu', 'float16', '--amp: a CPU trains in bfloat16, not in float16'),
        ('cuda', 'bfloat16', '--amp: this GPU has no bfloat16'),
    ],
)
def test_amp_that_cannot_work(cfg, monkeypatch, device, dtype, message):
    monkeypatch.setattr('lakd_mm.engine.config_checks.get_device', lambda: device)
    monkeypatch.setattr('torch.cuda.is_bf16_supported', lambda: False)
    cfg.optim_wrapper.dtype = dtype
    check_amp(cfg, '--amp')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    with pytest.raises(ConfigError, match=message):
        check_amp(cfg, '--amp')
    cfg.optim_wrapper.dtype = 'float16' if device == 'cuda' else 'bfloat16'
    if device != 'mps':
        check_amp(cfg, '--amp')


@pytest.mark.parametrize('flag', [None, 'avx512_bf16', 'avx512_fp16', 'amx_bf16'])
def test_a_cpu_without_bf16_is_named_once(cfg, monkeypatch, capsys, flag):
    capabilities = {'architecture': 'x86_64', 'avx2': True, flag: True}
    monkeypatch.setattr('torch.cpu.get_capabilities', lambda: capabilities)
    monkeypatch.setattr('lakd_mm.engine.config_checks.get_device', lambda: 'cpu')
    said = []
    monkeypatch.setattr(
        'lakd_mm.engine.config_checks.print_log', lambda text, **kwargs: said.append(text)
    )
    config_checks._warn_of_slow_bf16.cache_clear()
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cohort = Config(dict(optim_wrapper=dict(members=dict(a=cfg.optim_wrapper, b={}))))
    for one in (cohort, cfg):
        check_amp(one, '--amp')
    assert ['float32 is faster on it' in text for text in said] == ([] if flag else [True])


def test_amp_of_a_member_that_cannot_work(cfg, monkeypatch):
    monkeypatch.setattr('lakd_mm.engine.config_checks.get_device', lambda: 'cpu')
    members = dict(a=dict(cfg.optim_wrapper), b=dict(type='AmpOptimWrapper', dtype='float16'))
    with pytest.raises(ConfigError, match='a CPU trains in bfloat16, not in float16'):
        check_amp(Config(dict(optim_wrapper=dict(members=members))), '--amp')
