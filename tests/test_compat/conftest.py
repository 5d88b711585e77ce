"""What the tests of the repairs share: each repair is seen from a fresh process."""

import functools
import sys
import textwrap
from pathlib import Path

import pytest

TOY_RUNNER = Path(__file__).with_name('toy_runner.py')


@pytest.fixture
def run_code(run):
    """Runs Python code in a fresh process and returns what it printed; it must succeed."""

    def run_fresh(code, **environment) -> str:
        result = run(sys.executable, '-c', textwrap.dedent(code), **environment)
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run_fresh


@pytest.fixture
def train_toy(run, run_file):
    """Trains the toy pair and returns the lines that its hook printed."""

    def train(*options, launcher=(), **environment) -> list:
        start = functools.partial(run, *launcher) if launcher else run_file
        result = start(TOY_RUNNER, *options, **environment)
        assert result.returncode == 0, result.stdout
        return [
            line for line in result.stdout.splitlines() if line.startswith(('START', 'END', 'TEST'))
        ]

    return train
