import json
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop

from lakd_mm.engine.hooks.epoch_record_hook import EpochRecordHook, append_line
from reproduction.records import (
    NEEDED,
    VERSION,
    best_epoch,
    read_epochs,
    read_result,
    write_json,
)
from reproduction.runs import Run
from reproduction.targets import Budget, find_target, select


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


def test_a_result_is_whole_or_none(tmp_path):
    path = tmp_path / 'result.json'
    assert read_result(path) is None
    whole = dict.fromkeys(NEEDED, 0) | dict(version=VERSION)
    write_json(path, whole)
    assert read_result(path) == whole
    assert [p.name for p in tmp_path.iterdir()] == ['result.json']
    path.write_text(path.read_text()[:-10])
    assert read_result(path) is None
    write_json(path, whole | dict(version=VERSION + 1))
    assert read_result(path) is None
    write_json(path, dict(version=VERSION))
    assert read_result(path) is None


def test_the_best_epoch_is_the_first_of_equals():
    records = [
        dict(epoch=i + 1, metrics={'accuracy/top1': value})
        for i, value in enumerate([1.0, 3.0, None, 3.0, 2.0])
    ]
    assert best_epoch(records, 'accuracy/top1')['epoch'] == 2


def test_a_training_that_stopped_early_is_complete(tmp_path):
    hook = EpochRecordHook()
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    hub = SimpleNamespace(log_scalars={})
    runner = SimpleNamespace(work_dir=tmp_path, _train_loop=loop, train_loop=loop, message_hub=hub)
    (cell,) = select(find_target('causal'), ['baseline'])
    cfg = Config(dict(train_cfg=dict(max_epochs=30)))
    run = Run(tmp_path.name, cell, Budget(), 0, cfg, 30, 'x', tmp_path.parent, tmp_path)
    for runner.epoch in (1, 2):
        runner.train_loop.stop_training = runner.epoch == 2
        hook.after_val_epoch(runner, {'accuracy/top1': 10.0 * runner.epoch})
        hook.after_train(runner)
        assert (run.finish() is None) == (runner.epoch == 1)
    result = run.result()
    assert result['metrics'] == {'accuracy/top1': 20.0} and result['max_epochs'] == 30
    assert [record['epoch'] for record in result['epochs']] == [1, 2]
