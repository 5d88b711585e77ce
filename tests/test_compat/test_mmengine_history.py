import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor

import lakd_mm  # noqa: F401
from lakd_mm.compat.mmengine_history import history_length


def test_statistics_are_those_of_all_values():
    buffer, values = HistoryBuffer([0.5], [1]), [0.5]
    for i in range(100):
        buffer.update(i / 4, 2)
        values.append(i / 4)
        if i % 7 == 0:
            assert buffer.current() == values[-1]
    assert buffer.data[0].tolist() == values
    assert buffer.data[1].tolist() == [1] + [2] * 100
    assert buffer.mean(10) == np.sum(values[-10:]) / 20
    assert (buffer.max(), buffer.min(3)) == (99 / 4, 97 / 4)


def test_only_the_last_values_are_kept():
    buffer = HistoryBuffer(max_length=5)
    for i in range(23):
        buffer.update(float(i))
    assert buffer.data[0].tolist() == [18, 19, 20, 21, 22]
    assert len(buffer.__dict__.get('_pending', [])) == 0


@pytest.mark.parametrize('dtypes', [(torch.float32,), (torch.float32, torch.bfloat16)])
def test_tensors_are_read_when_they_are_needed(dtypes):
    buffer = HistoryBuffer()
    for i in range(4):
        buffer.update(torch.tensor(i + 0.5, dtype=dtypes[i % len(dtypes)]))
        buffer.update(float(i))
    assert buffer.data[0].tolist() == [0.5, 0, 1.5, 1, 2.5, 2, 3.5, 3]


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match='log_val must be int or float'):
        HistoryBuffer().update('1')


@pytest.mark.parametrize('twin', [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies_hold_everything(twin):
    buffer = HistoryBuffer([1.0], [1], max_length=3)
    for i in range(5):
        buffer.update(float(i))
    other = twin(buffer)
    buffer.update(9.0)
    assert other.data[0].tolist() == [2, 3, 4]
    other.update(7.0)
    assert other.data[0].tolist() == [3, 4, 7]
    # As plain MMEngine saves and reads it.
    assert set(buffer.__getstate__()) - {'statistics_methods'} == {
        'max_length',
        '_log_history',
        '_count_history',
    }


def runner(loop, length=30, **processor):
    return SimpleNamespace(
        log_processor=LogProcessor(**processor),
        train_loop=object.__new__(loop),
        train_dataloader=range(length),
    )


def window(size):
    return [dict(data_src='loss', method_name='mean', window_size=size)]


@pytest.mark.parametrize(
    ('loop', 'processor', 'expected'),
    [
        (EpochBasedTrainLoop, dict(window_size=10), 30),
        (EpochBasedTrainLoop, dict(window_size=40), 40),
        (EpochBasedTrainLoop, dict(custom_cfg=window(50)), 50),
        (EpochBasedTrainLoop, dict(custom_cfg=window('epoch')), 30),
        (EpochBasedTrainLoop, dict(custom_cfg=window('global')), 1_000_000),
        (IterBasedTrainLoop, dict(window_size=10, by_epoch=False), 10),
        (IterBasedTrainLoop, dict(custom_cfg=window('global'), by_epoch=False), 1_000_000),
    ],
)
def test_as_long_as_the_log_looks_back(loop, processor, expected):
    assert history_length(runner(loop, **processor)) == expected


def test_a_checkpoint_does_not_grow(train_toy, tmp_path):
    """Each scalar keeps one epoch of 4 iterations."""
    train_toy("work_dir='long'", "log_processor={'window_size': 3}")
    hubs = [
        torch.load(tmp_path / f'long/epoch_{i}.pth', weights_only=False)['message_hub']
        for i in (1, 2)
    ]
    first, second = (
        {name: buffer.data[0] for name, buffer in hub['log_scalars'].items()} for hub in hubs
    )
    assert {name: len(values) for name, values in first.items()} == {
        name: len(values) for name, values in second.items()
    }
    assert len(second['train/loss']) == 4
    assert not np.array_equal(first['train/loss'], second['train/loss'])


def test_a_hub_bounds_what_it_makes():
    hub = MessageHub('history of a test')
    hub.history_length = 2
    for i in range(4):
        hub.update_scalar('train/loss', torch.tensor(float(i)))
    assert hub.get_scalar('train/loss').data[0].tolist() == [2, 3]


def test_a_hub_does_not_wait_for_a_gpu():
    """Of a pretended one: its numbers come over together, when they are read."""

    class OnGPU(torch.Tensor):
        is_cuda = True
        waits = 0

        def item(self):
            OnGPU.waits += 1
            return super().item()

        def tolist(self):
            OnGPU.waits += 1
            return super().tolist()

    hub = MessageHub('a GPU of a test')
    hub.update_scalar('train/loss', 0.0)
    for i in range(1, 50):
        hub.update_scalar('train/loss', torch.tensor(float(i)).as_subclass(OnGPU))
    assert OnGPU.waits == 0
    assert hub.get_scalar('train/loss').data[0].tolist() == list(range(50))
    assert OnGPU.waits == 1
