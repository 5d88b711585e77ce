"""One run at a time in a work folder, and one error for what cannot be written."""

import errno
import json
import logging
import os
import resource
import subprocess
import sys

import pytest
from mmengine.fileio import LocalBackend

from lakd_mm.engine import ConfigError, rank_of, work_folder
from lakd_mm.engine.work_folder import HOLDER, LOCK


def test_half_written_files_go_and_others_stay(tmp_path):
    for name in ('epoch_2.pth.partial', 'last_checkpoint.partial', 'epoch_1.pth', 'notes.txt'):
        (tmp_path / name).write_text(name)
    with work_folder(str(tmp_path)):
        found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted(['epoch_1.pth', 'notes.txt', LOCK, HOLDER])
    assert not (tmp_path / HOLDER).exists()


HOLD = """
import sys
import lakd_mm
from lakd_mm.engine import work_folder
with work_folder(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_a_second_run_learns_who_holds_the_folder(tmp_path, environment):
    folder = str(tmp_path)
    command = [sys.executable, '-c', HOLD, folder]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == 'held\n'
        (tmp_path / 'epoch_1.pth.partial').touch()
        who = json.loads((tmp_path / HOLDER).read_text())
        assert who['pid'] == first.pid
        text = f'in use by another training: process {first.pid} on {who["host"]}, since 20.*--wor'
        with pytest.raises(ConfigError, match=text), work_folder(folder):
            pass
        assert (tmp_path / 'epoch_1.pth.partial').exists()  # the other one is writing it
        with work_folder(folder, rank=1):
            pass
        first.kill()
    # The lock has ended with its process, though its name is left.
    assert (tmp_path / HOLDER).exists()
    with work_folder(folder):
        assert json.loads((tmp_path / HOLDER).read_text())['pid'] == os.getpid()


def test_full_disk(tmp_path):
    """A device that is always full stands in for the file that is to be written."""
    path = tmp_path / 'epoch_1.pth'
    LocalBackend().put(b'good', path)
    with pytest.raises(ConfigError) as error, work_folder(str(tmp_path)):
        (tmp_path / 'epoch_1.pth.partial').symlink_to('/dev/full')
        LocalBackend().put(b'new', path)
    assert str(error.value).startswith(f'{path} cannot be written: No space left on device. What ')
    assert 'go on with --resume' in str(error.value)
    assert path.read_bytes() == b'good'
    assert not list(tmp_path.glob('*.partial'))


def test_log_on_a_full_disk_ends_the_run_without_tracebacks(tmp_path, capsys):
    logger = logging.getLogger('full')
    logger.propagate = False
    logger.addHandler(logging.FileHandler('/dev/full'))
    with pytest.raises(ConfigError, match='No space left'), work_folder(str(tmp_path)):
        logger.warning('text')
    assert capsys.readouterr().err == ''


def test_folder_that_is_gone(tmp_path):
    folder = tmp_path / 'w'
    text = f'work folder {folder} is gone: .*scalars.json'
    with pytest.raises(ConfigError, match=text), work_folder(str(folder)):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        (folder / 'scalars.json').write_text('{}')


def test_folder_that_cannot_be_made(tmp_path, monkeypatch):
    def read_only(path, *args, **kwargs):
        raise OSError(errno.EROFS, 'Read-only file system', path)

    monkeypatch.setattr(os, 'makedirs', read_only)
    text = 'w cannot be written: Read-only file system'
    with pytest.raises(ConfigError, match=text), work_folder(str(tmp_path / 'w')):
        pass
    monkeypatch.undo()
    (tmp_path / 'file').touch()
    with (
        pytest.raises(ConfigError, match='is below .*file, a file'),
        work_folder(str(tmp_path / 'file/w')),
    ):
        pass


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'), work_folder(str(tmp_path / 'w')):
        (tmp_path / 'absent').read_text()


def test_rank(monkeypatch):
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('SLURM_PROCID', '2')
    assert [rank_of(name) for name in ('none', 'pytorch', 'slurm', 'mpi')] == [0, 3, 2, 0]


@pytest.mark.slow
def test_training_on_a_disk_that_fills_up(root, tiny_config, tmp_path, environment):
    """The limit of a file's size stands in for the disk's: one error, no half checkpoint."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    result = subprocess.run(
        [sys.executable, root / 'tools/train.py', tiny_config, '--work-dir', 'w'],
        cwd=tmp_path,
        env=environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stdout + result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith('error: ') and 'epoch_1.pth cannot be written: File too large.' in last
    assert [p.name for p in (tmp_path / 'w').iterdir() if 'pth' in p.name] == []
