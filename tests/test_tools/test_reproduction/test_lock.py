import os
import subprocess
import sys

import pytest

from lakd_mm.errors import ConfigError
from reproduction.execution import locked


def test_a_second_caller_is_refused_and_told_who(tmp_path):
    holder = f'in use by process {os.getpid()}'
    with locked(tmp_path), pytest.raises(ConfigError, match=holder), locked(tmp_path):
        raise AssertionError('held twice')
    with locked(tmp_path):
        pass


def test_what_a_killed_caller_left_behind_blocks_no_one(tmp_path):
    (tmp_path / 'lock').write_text(f'{dead_process()}\n')
    with locked(tmp_path):
        assert (tmp_path / 'lock').read_text() == f'{os.getpid()}\n'


def test_a_process_that_inherited_the_lock_holds_it(tmp_path):
    with locked(tmp_path) as descriptor:
        child = subprocess.Popen(
            [sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    (tmp_path / 'lock').write_text(f'{dead_process()}\n')
    gone = pytest.raises(ConfigError, match='which is gone, but its trainings are not')
    with gone, locked(tmp_path, patience=0.3):
        raise AssertionError('held twice')
    child.communicate(b'\n')
    with locked(tmp_path):
        pass


def dead_process():
    process = subprocess.Popen(['true'])
    process.wait()
    return process.pid
