"""The method that CONTRIBUTING.md adds works as it is written there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ('lakd_mm', 'lakd_mm_cli', 'configs', 'tools', 'tests')
BLOCK = re.compile(
    r'```\w+\n(?:# |<!-- )(append to )?([\w/.-]+\.\w+)(?: -->)?\n(.*?)```', re.DOTALL
)
BUILD = """
from mmengine.config import Config
from mmengine.registry import init_default_scope
import lakd_mm
from mmrazor.registry import MODELS
init_default_scope('mmpretrain')
cfg = Config.fromfile('configs/pooled_cosine/pooled_cosine_r56_r20_240e_cifar100.py')
cfg.model.update(teacher_ckpt=None, data_preprocessor=cfg.data_preprocessor)
cfg.model.architecture.backbone.depth = cfg.model.teacher.backbone.depth = 8
losses = MODELS.build(cfg.model).distiller.distill_losses
print(lakd_mm.__file__, *losses, *{type(loss).__name__ for loss in losses.values()})
"""


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A copy of the project in which CONTRIBUTING.md was followed."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in PARTS:
        ignored = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ('model-index.yml', 'pyproject.toml'):
        shutil.copy(ROOT / name, folder)
    for append, name, text in BLOCK.findall((ROOT / 'CONTRIBUTING.md').read_text()):
        path = folder / name
        assert path.exists() == bool(append), name
        path.parent.mkdir(exist_ok=True)
        with path.open('a') as file:
            file.write(text)
    return folder


def python(checkout, *arguments):
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_the_example(checkout):
    # The tables give the configs, and every file in that folder is one of them.
    before = len(list((ROOT / 'configs').rglob('*.py')))
    python(checkout, 'tools/dev/write_configs.py')
    assert len(list((checkout / 'configs').rglob('*.py'))) == before + 4
    listed = python(checkout, '-m', 'lakd_mm_cli', 'list', 'configs', '--method', 'pooled_cosine')
    assert [line.split()[0] for line in listed.splitlines()[1:5]] == [
        f'pooled_cosine/pooled_cosine_r56_r20_{end}.py'
        for end in ('240e_cifar10', '240e_cifar100', 'cifar10', 'cifar100')
    ]
    built = python(checkout, '-c', BUILD).split()
    assert built[0] == str(checkout / 'lakd_mm/__init__.py')
    assert built[1:] == ['loss_cosine1', 'loss_cosine2', 'loss_cosine3', 'PooledCosineLoss']


@pytest.mark.slow
def test_the_test_of_the_example(checkout):
    names = ('tests/test_models/test_losses/test_pooled_cosine_loss.py', 'tests/test_layout.py')
    options = ('-p', 'no:cacheprovider', '-p', 'no:xdist')
    assert '6 passed' in python(checkout, '-m', 'pytest', *options, *names)
    ruff = ('-m', 'ruff', 'check', 'lakd_mm/models/losses/pooled_cosine_loss.py', names[0])
    python(checkout, *ruff)
