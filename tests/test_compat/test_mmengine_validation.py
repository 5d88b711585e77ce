"""A resumed run validates what it has not, and waits as long as an unbroken one."""

import contextlib

import pytest
import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from small_run import small_runner, validation

from lakd_mm.compat.mmengine_validation import VALIDATED


class Killed(Exception):
    pass


class KillIn(Hook):
    """Ends a training in front of a certain validation."""

    def __init__(self, done):
        self.done = done

    def before_val(self, runner):
        if runner.iter == self.done:
            raise Killed


class Count(Hook):
    def __init__(self):
        self.validated = []

    def after_val_epoch(self, runner, metrics):
        self.validated.append(runner.iter)


def train(folder, *hooks, **kwargs):
    count = Count()
    defaults = dict(
        **validation(),
        custom_hooks=[count, *hooks],
    )
    runner = small_runner(folder, **{**defaults, **kwargs})
    with contextlib.suppress(Killed):
        runner.train()
    return runner, count.validated


EPOCHS = dict(epochs=3)
ITERATIONS = dict(
    train_cfg=dict(by_epoch=False, max_iters=9, val_interval=3),
    batches=dict(sampler=dict(type='InfiniteSampler', shuffle=True)),
    log_processor=dict(by_epoch=False),
    checkpoint=dict(by_epoch=False),
)


@pytest.mark.parametrize('length', [EPOCHS, ITERATIONS], ids=['epochs', 'iterations'])
@pytest.mark.parametrize('killed', [6, 9], ids=['middle', 'last'])
def test_a_validation_that_was_not_done_is_done(tmp_path, length, killed):
    _, first = train(tmp_path, KillIn(killed), **length)
    assert first == list(range(3, killed, 3))
    runner, second = train(tmp_path, resume=True, **length)
    assert second == list(range(killed, 10, 3))
    assert runner.message_hub.get_info(VALIDATED) == (3 if length is EPOCHS else 9)
    # Once it is done and saved, it is not done again.
    runner.save_checkpoint(
        str(tmp_path), 'done.pth', meta=dict(epoch=runner.epoch, iter=runner.iter)
    )
    done = str(tmp_path / 'done.pth')
    assert train(tmp_path, resume=True, load_from=done, **length)[1] == []


def test_what_it_finds_is_saved(tmp_path):
    options = dict(epochs=2, checkpoint=dict(save_best='accuracy/top1'))
    train(tmp_path, KillIn(3), **options)
    train(tmp_path, resume=True, **options)
    info = torch.load(tmp_path / 'epoch_1.pth')['message_hub']['runtime_info']
    assert info[VALIDATED] == 1
    assert info['best_ckpt'] == str(tmp_path / 'best_accuracy_top1_epoch_1.pth')


def stopping(patience=2):
    # Nothing is better by 1000 %.
    return EarlyStoppingHook('accuracy/top1', min_delta=1000.0, patience=patience)


def test_early_stopping_goes_on_where_it_was(tmp_path):
    _, whole = train(tmp_path / 'whole', stopping(), epochs=6)
    _, first = train(tmp_path / 'killed', stopping(), KillIn(6), epochs=6)
    _, second = train(tmp_path / 'killed', stopping(), epochs=6, resume=True)
    assert first + second == whole != list(range(3, 21, 3))
    # It has stopped, whatever comes, unless it is to wait longer.
    last = str(tmp_path / 'killed' / f'epoch_{whole[-1] // 3}.pth')
    again = dict(epochs=6, resume=True, load_from=last)
    assert train(tmp_path / 'killed', stopping(), **again)[1] == [whole[-1]]
    assert len(train(tmp_path / 'killed', stopping(9), **again)[1]) > 1
