import json
from types import SimpleNamespace

from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop

from lakd_mm.engine.hooks.epoch_record_hook import EpochRecordHook
from reproduction.runs import NEEDED, VERSION, Run, best_epoch, read_result, write_json
from reproduction.targets import Budget, find_target, select


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
    records.insert(0, dict(epoch=0, metrics={}))
    assert best_epoch(records)['epoch'] == 2
    # Of a training without that metric, the first that was validated.
    assert best_epoch(records, 'other')['epoch'] == 1


def test_a_training_is_complete_when_its_last_epoch_was_validated(tmp_path):
    (cell,) = select(find_target('causal'), ['baseline'])
    cfg = Config(dict(train_cfg=dict(max_epochs=5)))
    run = Run(tmp_path.name, cell, Budget(), 0, cfg, 5, 'x', tmp_path.parent, tmp_path)
    lines = [
        dict(epoch=epoch, metrics={'accuracy/top1': top1} if top1 else {}, seconds=1, hardware={})
        for epoch, top1 in enumerate([None, 30.0, None, 40.0, None], 1)
    ]
    for last, done in (({}, False), ({'accuracy/top1': 35.0}, True)):
        lines[-1]['metrics'] = last
        (tmp_path / 'epochs.jsonl').write_text('\n'.join(map(json.dumps, lines)))
        assert (run.finish() is not None) == done
    result = run.result()
    assert result['metrics'] == {'accuracy/top1': 35.0}
    assert result['best'] == dict(epoch=4, metrics={'accuracy/top1': 40.0})
    assert len(result['epochs']) == 5 and result['seconds'] == 5


def test_a_training_that_stopped_early_is_complete(tmp_path):
    hook = EpochRecordHook()
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    hub = MessageHub(tmp_path.name)
    runner = SimpleNamespace(work_dir=tmp_path, _train_loop=loop, train_loop=loop, message_hub=hub)
    (cell,) = select(find_target('causal'), ['baseline'])
    cfg = Config(dict(train_cfg=dict(max_epochs=30)))
    hook.before_train(runner)
    run = Run(tmp_path.name, cell, Budget(), 0, cfg, 30, 'x', tmp_path.parent, tmp_path)
    for runner.epoch in (1, 2):
        runner.train_loop.stop_training = runner.epoch == 2
        hook.after_val_epoch(runner, {'accuracy/top1': 10.0 * runner.epoch})
        hook.after_train(runner)
        assert (run.finish() is None) == (runner.epoch == 1)
    result = run.result()
    assert result['metrics'] == {'accuracy/top1': 20.0} and result['max_epochs'] == 30
    assert [record['epoch'] for record in result['epochs']] == [1, 2]
