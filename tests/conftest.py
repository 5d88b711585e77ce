"""What several test folders share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch: threads that wait by spinning are 10 times slower where cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

ROOT = Path(__file__).resolve().parents[1]
# A network of a few thousand weights on a few digits: an epoch takes a second.
TINY_CONFIG = """
_base_ = '{root}/configs/_base_/datasets/digits.py'
default_scope = 'mmpretrain'
custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
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


@pytest.fixture
def run(tmp_path):
    """Runs a command in ``tmp_path`` on one thread; stdout and stderr are one text."""

    def run_command(*command, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run_command


@pytest.fixture
def run_tool(run):
    """Runs ``tools/<name>`` with this Python."""

    def run_python_tool(name, *arguments, **environment) -> subprocess.CompletedProcess:
        return run(sys.executable, ROOT / 'tools' / name, *arguments, **environment)

    return run_python_tool
