import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop
from mmrazor.registry import HOOKS

from lakd_mm.engine.hooks.epoch_record_hook import number


def test_numbers_for_json():
    values = [float('nan'), 2, 1.23456789, 'text', torch.tensor(0.5), True]
    assert [number(value) for value in values] == [None, 2.0, 1.234568, 'text', 0.5, True]


TRAINS = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)


@pytest.mark.parametrize('loop, lines', [(TRAINS, 1), (dict(type='EpochBasedTrainLoop'), 0)])
def test_a_line_an_epoch_of_training(tmp_path, loop, lines):
    """A validation on its own, for which the loop is not built, leaves none."""
    hook = HOOKS.build(dict(type='mmrazor.EpochRecordHook', name='lines.jsonl'))
    hub = SimpleNamespace(log_scalars={})
    runner = SimpleNamespace(work_dir=tmp_path, _train_loop=loop, epoch=4, message_hub=hub)
    hook.after_val_epoch(runner, {'accuracy/top1': torch.tensor(12.5)})
    written = [json.loads(line) for path in tmp_path.iterdir() for line in path.open()]
    assert len(written) == lines
    for line in written:
        assert (line['epoch'], line['metrics'], line['loss']) == (4, {'accuracy/top1': 12.5}, None)
        assert line['hardware']['threads'] == torch.get_num_threads()
        assert line['hardware']['torch'] == torch.__version__ and line['hardware']['device']
