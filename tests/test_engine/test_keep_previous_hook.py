import os
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger

from lakd_mm.engine import KeepPreviousHook


@pytest.fixture
def runner(tmp_path):
    """The parts of a runner that the hook looks at, in a work folder of three checkpoints."""
    for time, name in enumerate(['epoch_1.pth', 'epoch_2.pth', 'best_epoch_2.pth', 'epoch_3.pth']):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (time, time))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return SimpleNamespace(
        hooks=[],
        work_dir=str(tmp_path),
        timestamp='now',
        iter=0,
        cfg={},
        logger=MMLogger.get_current_instance(),
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_new_training(runner, tmp_path):
    KeepPreviousHook().before_train(runner)
    assert names(tmp_path) == []
    kept = ['best_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    assert names(tmp_path / 'previous_now') == kept
    assert (tmp_path / 'previous_now' / 'epoch_2.pth').read_text() == 'epoch_2.pth'


def test_nothing_to_keep(runner, tmp_path):
    for path in tmp_path.iterdir():
        path.unlink()
    KeepPreviousHook().before_train(runner)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('resumed', [None, 'epoch_3.pth'])
def test_resumed_from_the_latest(runner, tmp_path, resumed):
    runner.iter = 30
    if resumed:
        runner.cfg['load_from'] = str(tmp_path / resumed)
    (tmp_path / 'best_epoch_3.pth').touch()
    KeepPreviousHook().before_train(runner)
    assert not (tmp_path / 'previous_now').exists()


def test_resumed_from_an_earlier_one(runner, tmp_path):
    runner.iter = 20
    runner.cfg['load_from'] = str(tmp_path / 'epoch_2.pth')
    KeepPreviousHook().before_train(runner)
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'last_checkpoint']
    kept = ['best_epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    assert names(tmp_path / 'previous_now') == kept
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_2.pth')


def test_resumed_from_elsewhere(runner, tmp_path):
    runner.iter = 20
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'epoch_2.pth').touch()
    runner.cfg['load_from'] = str(elsewhere / 'epoch_2.pth')
    KeepPreviousHook().before_train(runner)
    assert names(tmp_path) == ['last_checkpoint']
    assert len(names(tmp_path / 'previous_now')) == 5


def test_folder_of_the_checkpoint_hook(runner, tmp_path):
    runner.work_dir = str(tmp_path / 'logs')
    runner.hooks = [CheckpointHook(out_dir=str(tmp_path))]
    KeepPreviousHook().before_train(runner)
    assert len(names(tmp_path / 'previous_now')) == 4
