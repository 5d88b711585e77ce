import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop
from mmrazor.registry import HOOKS
from small_run import small_runner, validation

from lakd_mm.engine.hardware import hardware
from lakd_mm.engine.hooks.epoch_record_hook import (
    SPENT,
    TO_COME,
    EpochRecordHook,
    append_line,
    number,
    read_epochs,
)


def test_numbers_for_json():
    values = [float('nan'), 2, 1.23456789, 'text', torch.tensor(0.5), True]
    assert [number(value) for value in values] == [None, 2.0, 1.234568, 'text', 0.5, True]


TRAINS = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)


@pytest.mark.parametrize('loop, lines', [(TRAINS, 1), (dict(type='EpochBasedTrainLoop'), 0)])
def test_a_line_an_epoch_of_training(tmp_path, loop, lines):
    """A validation on its own, for which the loop is not built, leaves none."""
    hook = HOOKS.build(dict(type='mmrazor.EpochRecordHook', name='lines.jsonl'))
    runner = SimpleNamespace(
        work_dir=tmp_path, _train_loop=loop, epoch=4, message_hub=MessageHub(tmp_path.name)
    )
    hook.before_train(runner)
    hook.after_val_epoch(runner, {'accuracy/top1': torch.tensor(12.5)})
    hook.before_train_epoch(runner)
    written = [json.loads(line) for path in tmp_path.iterdir() for line in path.open()]
    assert len(written) == lines
    for line in written:
        assert (line['epoch'], line['metrics'], line['loss']) == (4, {'accuracy/top1': 12.5}, None)
        assert line['hardware']['threads'] == torch.get_num_threads()
        assert line['hardware']['torch'] == torch.__version__ and line['hardware']['device']


def test_the_seconds_of_an_epoch_that_was_interrupted(tmp_path):
    """Those before count too; a checkpoint behind an epoch has none of the next."""
    hook = EpochRecordHook()
    hook._since -= 100
    saved = [
        dict(meta=meta, message_hub=dict(runtime_info={}))
        for meta in (dict(epoch=1), dict(epoch=1, position={}))
    ]
    for checkpoint in saved:
        hook.before_save_checkpoint(None, checkpoint)
    whole, middle = (checkpoint['message_hub']['runtime_info'] for checkpoint in saved)
    assert whole == {} and 100 <= middle[SPENT] < 110
    foreign = [{SPENT: value} for value in ('x', None, float('nan'))]
    infos = [whole, *foreign, middle]
    for number_, info in enumerate(infos):
        seconds = 100 if info is middle else 0
        hub = MessageHub(f'{tmp_path.name}_{number_}')
        hub.runtime_info.update(info)
        runner = SimpleNamespace(
            work_dir=tmp_path / str(number_), model=None, message_hub=hub, epoch=1
        )
        runner.work_dir.mkdir()
        hook = EpochRecordHook()
        hook.before_train(runner)
        hook.after_train_epoch(runner)
        hook.before_train_epoch(runner)
        (line,) = runner.work_dir.joinpath('epochs.jsonl').read_text().splitlines()
        assert seconds <= json.loads(line)['seconds'] < seconds + 10
        assert SPENT not in hub.runtime_info


class Kill(Hook):
    """Ends a training when all of an epoch is saved, but for its line."""

    priority = 'LOWEST'

    def after_val_epoch(self, runner, metrics=None):
        if runner.epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize('epochs_', [2, 3], ids=['last epoch', 'epoch before'])
def test_a_line_that_a_kill_prevented_is_written_later(tmp_path, epochs_):
    record = dict(type='mmrazor.EpochRecordHook')
    best = dict(save_best='accuracy/top1')

    def train(folder, *hooks, **more):
        hooks = [record, *hooks]
        kwargs = dict(epochs=epochs_, checkpoint=best, custom_hooks=hooks, **validation(), **more)
        small_runner(tmp_path / folder, **kwargs).train()
        return [dict(e, seconds=0) for e in read_epochs(tmp_path / folder / 'epochs.jsonl')]

    whole = train('whole')
    assert [e['epoch'] for e in whole] == list(range(1, epochs_ + 1))
    with pytest.raises(KeyboardInterrupt):
        train('killed', Kill())
    assert len(read_epochs(tmp_path / 'killed' / 'epochs.jsonl')) == 1
    assert train('killed', resume=True) == whole


class KillAt(Hook):
    """Ends a training when epoch 3 is over: as it is saved, or when epoch 4 begins."""

    priority = 'LOWEST'

    def __init__(self, saved):
        self.saved = saved

    def after_train_epoch(self, runner):
        if self.saved and runner.epoch == 2:
            raise KeyboardInterrupt

    def before_train_epoch(self, runner):
        if runner.epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize('saved', [False, True], ids=['not saved', 'saved'])
def test_an_epoch_without_a_validation_has_a_line_without_metrics(tmp_path, saved):
    """Also behind a kill: from epoch 2, or from an epoch 3 that was saved without a line."""

    def train(folder, *hooks, **more):
        saver = dict(type='CheckpointHook', interval=1 if saved else 2, save_best='accuracy/top1')
        small_runner(
            tmp_path / folder,
            train_cfg=dict(by_epoch=True, max_epochs=5, val_interval=2),
            default_hooks=dict(checkpoint=saver),
            custom_hooks=[dict(type='mmrazor.EpochRecordHook'), *hooks],
            **validation(),
            **more,
        ).train()
        return read_epochs(tmp_path / folder / 'epochs.jsonl')

    whole = train('whole')
    assert [e['epoch'] for e in whole] == [1, 2, 3, 4, 5]
    assert [e['epoch'] for e in whole if e['metrics']] == [2, 4, 5]
    assert all(e['metrics'].keys() <= {'accuracy/top1'} for e in whole)
    assert all(e['loss'] > 0 and e['seconds'] > 0 and e['hardware'] for e in whole)
    with pytest.raises(KeyboardInterrupt):
        train('killed', KillAt(saved))
    assert len(read_epochs(tmp_path / 'killed' / 'epochs.jsonl')) == (2 if saved else 3)
    resumed = train('killed', resume=True)
    assert [dict(e, seconds=0) for e in resumed] == [dict(e, seconds=0) for e in whole]


@pytest.mark.parametrize(
    'held', [7, ['x'], {'': 7}, {'': '{}'}, {'': '{"epoch": "1"}'}, {'x': '{'}]
)
def test_what_a_foreign_checkpoint_has_to_come_is_no_line(tmp_path, held):
    hook = HOOKS.build(dict(type='mmrazor.EpochRecordHook'))
    runner = SimpleNamespace(work_dir=tmp_path, message_hub=MessageHub(tmp_path.name))
    runner.message_hub.update_info(TO_COME, held)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    assert not list(tmp_path.iterdir())


def test_tf32_of_a_gpu_is_recorded(monkeypatch):
    assert 'tf32' not in hardware() or torch.cuda.is_available()
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.get_device_name', lambda: 'a GPU')
    monkeypatch.setattr('torch.backends.cudnn.allow_tf32', False)
    assert hardware()['tf32'] is False
    monkeypatch.setattr('torch.backends.cudnn.allow_tf32', True)
    assert hardware()['tf32'] is True and hardware()['device'] == 'a GPU'


def line(epoch, top1=50.0):
    return json.dumps(dict(epoch=epoch, metrics={'accuracy/top1': top1}))


def epochs(path):
    return [(e['epoch'], e['metrics']['accuracy/top1']) for e in read_epochs(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'epochs.jsonl'


def test_later_lines_count_where_a_training_went_back(path):
    lines = [line(1, 10), line(2, 20), line(3, 30), line(2, 21), line(3, 31)]
    path.write_text('\n'.join(lines))
    assert epochs(path) == [(1, 10), (2, 21), (3, 31)]
    path.write_text('\n'.join([line(1, 10), line(2, 20), line(1, 11)]))
    assert epochs(path) == [(1, 11)]


def test_half_lines_and_gaps_are_left_out(path):
    assert read_epochs(path) == []
    path.write_text(line(1) + '\n' + line(2)[:30])
    assert epochs(path) == [(1, 50.0)]
    append_line(path, line(2, 60.0))
    assert epochs(path) == [(1, 50.0), (2, 60.0)]
    path.write_text(line(1) + '\n' + line(3) + '\n[]\n7\n')
    assert epochs(path) == [(1, 50.0)]
