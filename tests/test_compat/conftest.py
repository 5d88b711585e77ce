"""What the tests of the repairs share: each repair is seen from a fresh process."""

import sys
import textwrap
from pathlib import Path

import pytest

TOY_RUNNER = Path(__file__).with_name('toy_runner.py')


@pytest.fixture
def import_and_run(run):
    """Runs Python code in a fresh process and returns what it printed; it must succeed."""

    def run_fresh(code) -> str:
        result = run(sys.executable, '-c', textwrap.dedent(code))
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run_fresh


@pytest.fixture
def run_code(run_file, tmp_path_factory):
    """The same in a process that has imported the package, and nothing after it."""

    def run_forked(code) -> str:
        path = tmp_path_factory.mktemp('code') / 'code.py'
        path.write_text(textwrap.dedent(code))
        result = run_file(path)
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run_forked


@pytest.fixture
def train_toy(run_file):
    """Trains the toy pair and returns the lines that its hook printed."""

    def train(*options, **environment) -> list:
        result = run_file(TOY_RUNNER, *options, **environment)
        assert result.returncode == 0, result.stdout
        return [
            line for line in result.stdout.splitlines() if line.startswith(('START', 'END', 'TEST'))
        ]

    return train
