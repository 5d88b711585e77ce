"""ResidentTrainLoop trains as the stock loop does, to the bit."""

import json
import math
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from networks import cifar_resnet_cfg
from small_run import small_runner

from lakd_mm.compat.mmengine_random import position
from lakd_mm.engine import ConfigError, ResidentTrainLoop

PREPROCESSOR = dict(type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3)
PAIR = dict(architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(14))
KL = dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')
EMBED = dict(type='mmrazor.CRDConnector')
CRD = dict(type='mmrazor.ContrastiveRepresentationLoss', num_data=24, num_negatives=4)
MODELS = dict(
    scratch=cifar_resnet_cfg(8),
    kd=dict(type='mmrazor.Distill', **PAIR, transfers=dict(loss_kd=KL)),
    lakd=dict(type='mmrazor.LAKD', **PAIR),
    # It draws random numbers itself, between those of the crops.
    crd=dict(
        type='mmrazor.Distill',
        **PAIR,
        transfers=dict(
            loss_crd=dict(loss=CRD, at='pooled', connector=EMBED, teacher_connector=EMBED)
        ),
    ),
    # Crops that depend on the image and the epoch.
    views=dict(cifar_resnet_cfg(8), data_preprocessor=dict(PREPROCESSOR, num_views=2)),
)
IMAGES = dict(type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits', indices=24))
TIMES = re.compile('time|eta|memory')


class Break(Hook):
    """Saves in the middle of the second epoch, and counts calls."""

    priority = 'LOWEST'

    def __init__(self):
        self.calls = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.calls.append(('before', batch_idx, len(data_batch['inputs'])))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(('after', batch_idx, sorted(outputs)))
        if (runner.epoch, batch_idx) == (1, 0):
            where = dict(epoch=1, iter=runner.iter + 1, position=position(1))
            runner.save_checkpoint(runner.work_dir, 'middle.pth', meta=where)

    def before_train_epoch(self, runner):
        self.calls.append(('epoch', runner.epoch, runner.model.training))

    def after_train_epoch(self, runner):
        self.calls.append(('end', runner.epoch, runner.iter))


def run(work_dir, model, resident, **kwargs):
    """Train two epochs of three batches, the last one smaller, in one of the loops."""
    hook = Break()
    model = {'data_preprocessor': PREPROCESSOR, **model}
    train_cfg = dict(by_epoch=True, max_epochs=2)
    if resident:
        train_cfg['type'] = 'mmrazor.ResidentTrainLoop'
    runner = small_runner(
        work_dir,
        model=model,
        batches=dict(batch_size=10, dataset=IMAGES),
        train_cfg=train_cfg,
        param_scheduler=dict(type='PolyLR', power=1.0, convert_to_iter_based=True, by_epoch=True),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[hook],
        **kwargs,
    )
    torch.rand(11)  # what another process has drawn by now
    runner.train()
    assert type(runner.train_loop) is (ResidentTrainLoop if resident else EpochBasedTrainLoop)
    return runner, hook


def plain(value, where=''):
    """Everything in a checkpoint, by its place, without times."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not TIMES.search(str(key)):
                yield from plain(inner, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from plain(inner, f'{where}.{index}')
    elif hasattr(value, '_log_history'):
        yield from plain(dict(history=torch.as_tensor(value.data[0])), where)
    else:
        yield where, value


def contents(path):
    found = torch.load(path)
    for key in ('cfg', 'experiment_name', 'seed'):
        found['meta'].pop(key, None)
    found['message_hub']['runtime_info'].pop('cfg', None)
    return dict(plain(found))


def log(work_dir):
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    return [
        {key: value for key, value in json.loads(line).items() if not TIMES.search(key)}
        for line in path.read_text().splitlines()
    ]


def differing(first, second):
    assert first.keys() == second.keys() and len(first) > 50
    return [
        key
        for key, value in first.items()
        if not (
            torch.equal(value, second[key])
            if isinstance(value, torch.Tensor)
            else value == second[key]
        )
    ]


@pytest.mark.parametrize('name', MODELS)
def test_equals_the_stock_loop(tmp_path, name):
    runs = {}
    for resident in (False, True):
        work_dir = tmp_path / f'{name}_{resident}'
        runs[resident] = work_dir, run(work_dir, MODELS[name], resident)[1].calls
    (stock, calls), (ours, found) = runs[False], runs[True]
    assert found == calls and len(calls) == 2 * 3 * 2 + 4
    assert log(ours) == log(stock) and len(log(stock)) == 6
    for file in ('epoch_1.pth', 'middle.pth', 'epoch_2.pth'):
        found = contents(ours / file)
        assert differing(contents(stock / file), found) == []
        assert sum('momentum_buffer' in key for key in found) > 20
        assert all(
            math.isfinite(loss) for loss in found['.message_hub.log_scalars.train/loss.history']
        )


@pytest.mark.parametrize('file', ['epoch_1.pth', 'middle.pth'])
@pytest.mark.parametrize('first', [False, True])
def test_resumed_in_either_loop_equals_unbroken(tmp_path, file, first):
    run(tmp_path / 'whole', MODELS['crd'], first)
    path = str(tmp_path / 'whole' / file)
    run(tmp_path / 'rest', MODELS['crd'], not first, resume=True, load_from=path)
    expected, found = (contents(tmp_path / n / 'epoch_2.pth') for n in ('whole', 'rest'))
    assert differing(expected, found) == []


def test_the_loader_fetches_nothing(tmp_path, monkeypatch):
    def fetch(self):
        raise AssertionError('a batch is fetched')

    monkeypatch.setattr('torch.utils.data.dataloader._BaseDataLoaderIter.__next__', fetch)
    assert run(tmp_path, MODELS['scratch'], resident=True)[0].iter == 6


def loop(**kwargs):
    return dict(dict(type='mmrazor.ResidentTrainLoop', max_epochs=1), **kwargs)


DIGITS = dict(type='mmrazor.Digits', indices=4, pipeline=[dict(type='mmpretrain.PackInputs')])


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (
            dict(batches=dict(dataset=DIGITS, collate_fn=dict(type='default_collate'))),
            r'needs train_dataloader.dataset.type=mmrazor.InMemory, '
            r"train_dataloader.collate_fn=dict\(type='whole_batch'\); or leave train_cfg.type out$",
        ),
        (dict(batches=dict(num_workers=1)), 'needs train_dataloader.num_workers=0; or'),
        (
            dict(model=cifar_resnet_cfg(8)),
            'needs data_preprocessor.type=mmrazor.CropFlipDataPreprocessor; or leave',
        ),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, kwargs, message):
    runner = small_runner(tmp_path, **{'train_cfg': loop(), **kwargs})
    with pytest.raises(ConfigError, match=message):
        runner.train()


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('lakd_mm.engine.resident_loop.is_model_wrapper', lambda model: True)
    with pytest.raises(ConfigError, match='trains in one process: leave --launcher out'):
        small_runner(tmp_path, train_cfg=loop()).train()
