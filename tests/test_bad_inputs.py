"""What is wrong in a call or a config ends before training, in one line that says what to do."""

import re
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from bad_calls import REFUSED, SCRIPTS, USAGE
from bad_configs import FILES, LINES, OPTIONS
from conftest import ROOT, TINY_CONFIG
from mmengine.runner.checkpoint import save_checkpoint
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

import lakd_mm  # noqa: F401


@pytest.fixture(scope='module')
def things(tmp_path_factory):
    """What the calls name."""
    folder = tmp_path_factory.mktemp('things')
    (folder / 'tiny.py').write_text(TINY_CONFIG.format(root=ROOT))
    weights = MODELS.build(cifar_resnet_cfg(8)).state_dict()
    nan = {**weights, 'backbone.conv1.weight': weights['backbone.conv1.weight'] * float('nan')}
    other = MODELS.build(cifar_resnet_cfg(14)).state_dict()
    parts = ('architecture', 'teacher')
    distilled = {f'{part}.{key}': value for part in parts for key, value in weights.items()}
    states = dict(weights=weights, nan=nan, other=other, distilled=distilled)
    for name, state in states.items():
        save_checkpoint(dict(state_dict=state), str(folder / f'{name}.pth'))
    published = {k.removeprefix('backbone.').removeprefix('head.'): v for k, v in weights.items()}
    torch.save(dict(model=published), folder / 'literature.pth')
    (folder / 'half.pth').write_bytes((folder / 'weights.pth').read_bytes()[:5000])
    (folder / 'text.pth').write_text('no checkpoint')
    torch.save(dict(model=[1, 2]), folder / 'list.pth')
    (folder / 'file').write_text('a file')
    (folder / 'folder').mkdir()
    return folder


@pytest.fixture
def refuse(run_tool, things, tmp_path):
    """Runs a tool beside the things; it has to end with one line, of which this is the rest."""
    shutil.copytree(things, tmp_path, dirs_exist_ok=True)

    def run(tool, arguments, code=1, **variables):
        done = run_tool(tool, *arguments, **variables)
        return check(done, code)

    return run


def check(done, code):
    assert done.returncode == code, done.stdout[-2000:]
    assert 'Traceback' not in done.stdout and 'Epoch(train)' not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    found = [i for i, line in enumerate(lines) if re.match(r'(\S+\.py: )?error: ', line)]
    assert found == [len(lines) - 1], done.stdout[-2000:]
    return lines[-1].partition('error: ')[2]


@pytest.mark.parametrize('options, message', OPTIONS)
def test_option(refuse, options, message):
    error = refuse('train.py', ['tiny.py', '--cfg-options', *options.split()])
    assert re.search(message, error), error


@pytest.mark.parametrize('lines, message', LINES)
def test_lines(refuse, tmp_path, lines, message):
    (tmp_path / 'bad.py').write_text(f"_base_ = 'tiny.py'\n{lines}\n")
    error = refuse('train.py', ['bad.py'])
    assert re.search(message, error), error


@pytest.mark.parametrize('name, text, message', FILES)
def test_file(refuse, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    error = refuse('train.py', [name])
    assert re.search(message, error), error


CALLS = [
    (tool, *case, code)
    for code, table in ((1, REFUSED), (2, USAGE))
    for tool, cases in table.items()
    for case in cases
]


@pytest.mark.parametrize('tool, arguments, message, code', CALLS)
def test_call(refuse, tool, arguments, message, code):
    error = refuse(tool, arguments, code)
    assert re.search(message, error), error


@pytest.mark.parametrize('arguments, message', SCRIPTS)
def test_script(run, things, tmp_path, arguments, message):
    shutil.copytree(things, tmp_path, dirs_exist_ok=True)
    done = run('bash', ROOT / 'tools' / arguments[0], *arguments[1:], PYTHON=sys.executable)
    assert done.returncode == 2 and message in done.stdout


def test_processes_on_a_cluster(run, things, tmp_path):
    shutil.copytree(things, tmp_path, dirs_exist_ok=True)
    arguments = ['slurm_train.sh', 'partition', 'job', 'tiny.py', 'w']
    for name in ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK'):
        done = run('bash', ROOT / 'tools' / arguments[0], *arguments[1:], **{name: 'two'})
        assert done.returncode == 2 and f"error: {name} is 'two'" in done.stdout


def pictures(folder, sizes):
    for number, size in enumerate(sizes):
        path = folder / 'pictures' / f'class{number % 2}' / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((size, size, 3), dtype=np.uint8))


IN_MEMORY = """
_base_ = 'tiny.py'
model = dict(head=dict(num_classes=2))
load = [dict(type='LoadImageFromFile')]
data_preprocessor = dict(
    _delete_=True, type='mmrazor.CropFlipDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
train_dataloader = dict(
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        _delete_=True,
        type='mmrazor.InMemory',
        dataset=dict(type='mmpretrain.CustomDataset', data_root='pictures', pipeline=load)))
"""
WITH_WORKERS = """
_base_ = 'tiny.py'
model = dict(head=dict(num_classes=2))
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='pictures',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
"""


@pytest.mark.parametrize(
    'config, sizes, broken, message',
    [
        (IN_MEMORY, [8, 8, 9], False, r'image 1 is uint8 of shape \(9, 9, 3\).*one size'),
        (IN_MEMORY, [8, 8], True, 'image .*broken.png. cannot be read: it is damaged'),
        (WITH_WORKERS, [8, 8], True, 'image .*broken.png. cannot be read: it is damaged'),
    ],
)
def test_images(refuse, tmp_path, config, sizes, broken, message):
    pictures(tmp_path, sizes)
    if broken:
        (tmp_path / 'pictures/class0/broken.png').write_text('no image')
    (tmp_path / 'bad.py').write_text(config)
    error = refuse('train.py', ['bad.py', '--no-validate'])
    assert re.search(message, error), error


def test_bases_in_a_circle(refuse, tmp_path):
    (tmp_path / 'bad.py').write_text("_base_ = 'worse.py'")
    (tmp_path / 'worse.py').write_text("_base_ = ['tiny.py', './bad.py']")
    error = refuse('train.py', ['bad.py'])
    assert re.search(r'bad.py: _base_ leads in a circle, bad.py -> worse.py -> bad.py', error)


@pytest.mark.parametrize('option', ['optim_wrapper.optimizer.lrr=1', 'train_cfg.max_epochs=0'])
def test_debug_shows_the_traceback(run_tool, tiny_config, option):
    arguments = ['train.py', tiny_config, '--cfg-options', option]
    done = run_tool(*arguments, DEBUG='1')
    assert done.returncode == 1 and 'Traceback' in done.stdout
    assert 'Traceback' not in run_tool(*arguments, DEBUG='0').stdout
