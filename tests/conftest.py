"""What several test folders share."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

# Before torch: threads that wait by spinning are 10 times slower where cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

ROOT = Path(__file__).resolve().parents[1]
# A network of a few thousand weights on a few digits: an epoch takes a second.
TINY_CONFIG = """
_base_ = [
    '{root}/configs/_base_/datasets/digits.py',
    '{root}/configs/_base_/models/resnet_cifar.py',
]
default_scope = 'mmpretrain'
custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)
model = dict(backbone=dict(depth=8), head=dict(num_classes=10))
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
val_dataloader = dict(dataset=dict(indices=32))
test_dataloader = dict(dataset=dict(indices=32))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1),
)
custom_hooks = [dict(type='mmrazor.CheckDataHook'), dict(type='mmrazor.KeepPreviousHook')]
randomness = dict(seed=0)
"""


def pytest_sessionfinish(session, exitstatus):
    """Fails a run in which every test was skipped."""
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    collect_only = session.config.option.collectonly
    if exitstatus == 0 and reporter and not collect_only and 'passed' not in reporter.stats:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def tiny_config(tmp_path) -> Path:
    """A config file that trains in seconds, alone in a folder of its own."""
    path = tmp_path / 'tiny.py'
    path.write_text(TINY_CONFIG.format(root=ROOT), encoding='utf-8')
    return path


@pytest.fixture(scope='session')
def environment() -> dict:
    """The environment of a process on one thread, without what a make that runs us was given."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    env.pop('MAKEFLAGS', None)
    return env


@pytest.fixture
def run(tmp_path, environment):
    """Runs a command in ``tmp_path`` on one thread; stdout and stderr are one text."""

    def run_command(*command, **variables) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run_command


@pytest.fixture(scope='session')
def fork_file(environment, tmp_path_factory):
    """Runs a Python file in forks of a process that has imported the package."""
    command = [sys.executable, ROOT / 'tests' / 'tool_server.py']
    pipe = subprocess.PIPE

    def run_python_file(argv, cwd, *environments) -> subprocess.CompletedProcess:
        output = tmp_path_factory.mktemp('output') / 'output.txt'
        argv = [str(part) for part in argv]
        job = dict(argv=argv, cwd=str(cwd), output=str(output), environments=environments)
        print(json.dumps(job), file=server.stdin, flush=True)
        codes = json.loads(server.stdout.readline())
        return subprocess.CompletedProcess(argv, max(codes, key=abs), output.read_text())

    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as server:
        yield run_python_file
        # Told, as workers of data loaders that a test leaves hold the pipe open.
        print(file=server.stdin, flush=True)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture
def free_port() -> str:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def run_file(fork_file, environment, free_port, tmp_path):
    """Runs a Python file in ``tmp_path``, without the seconds that the imports take.

    Twice at a time and more with ``ranks``, under the variables that torchrun would set.
    """

    def run_python_file(path, *arguments, ranks=1, **variables) -> subprocess.CompletedProcess:
        environments = [{**environment, **variables}]
        if ranks > 1:
            meet = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port, WORLD_SIZE=str(ranks))
            numbers = [dict(RANK=str(i), LOCAL_RANK=str(i)) for i in range(ranks)]
            environments = [{**environments[0], **meet, **number} for number in numbers]
        return fork_file((path, *arguments), tmp_path, *environments)

    return run_python_file


@pytest.fixture
def run_tool(run_file):
    """Runs ``tools/<name>``."""

    def run_python_tool(name, *arguments, **variables) -> subprocess.CompletedProcess:
        return run_file(ROOT / 'tools' / name, *arguments, **variables)

    return run_python_tool


@pytest.fixture(scope='session')
def trained(fork_file, environment, tmp_path_factory) -> Path:
    """A folder where tools/train.py has trained the tiny config, once for all tests: copy it.

    It printed ``output.txt``.
    """
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    folder, printed = folder / 'trained', folder / 'trained' / 'output.txt'
    with FileLock(folder.with_suffix('.lock')):
        if not printed.is_file():
            folder.mkdir()
            (folder / 'tiny.py').write_text(TINY_CONFIG.format(root=ROOT), encoding='utf-8')
            result = fork_file((ROOT / 'tools' / 'train.py', 'tiny.py'), folder, environment)
            assert result.returncode == 0, result.stdout
            printed.write_text(result.stdout)
    return folder
