import multiprocessing

import pytest
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from small_run import small_runner, validation

import lakd_mm  # noqa: F401


def build(tmp_path, **train_cfg):
    return small_runner(tmp_path, train_cfg=dict(max_epochs=1, **train_cfg)).train_loop


@pytest.mark.parametrize('kind', ['EpochBasedTrainLoop', EpochBasedTrainLoop])
def test_a_type_beside_the_by_epoch_that_it_agrees_with(tmp_path, kind):
    """As ``--cfg-options train_cfg.type=…`` gives it to a config that has ``by_epoch``."""
    found = build(tmp_path, type=kind, by_epoch=True)
    assert type(found) is EpochBasedTrainLoop and found.max_epochs == 1


def test_one_that_contradicts_is_refused_as_before(tmp_path):
    with pytest.raises(RuntimeError, match='Only one of `type` or `by_epoch`'):
        build(tmp_path, type='EpochBasedTrainLoop', by_epoch=False)


class Fail(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        assert multiprocessing.active_children()
        raise KeyError('at will')


WORKERS = dict(num_workers=2, persistent_workers=True)


def test_workers_that_persist_end_with_the_training_and_start_anew(tmp_path):
    validating = validation()
    validating['val_dataloader'].update(WORKERS)
    runner = small_runner(tmp_path, batches=WORKERS, **validating)
    runner.train()
    assert not multiprocessing.active_children()
    assert runner.val() and not multiprocessing.active_children()


@pytest.mark.parametrize('train_cfg', [dict(max_epochs=1), dict(by_epoch=False, max_iters=2)])
def test_workers_end_with_a_training_that_fails(tmp_path, train_cfg):
    runner = small_runner(
        tmp_path, batches=WORKERS, train_cfg={'by_epoch': True, **train_cfg}, custom_hooks=[Fail()]
    )
    with pytest.raises(KeyError, match='at will'):
        runner.train()
    assert not multiprocessing.active_children()
