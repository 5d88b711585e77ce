"""From checkpoints to picture, table and facts; the parts are tested beside the package."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from mmrazor.registry import MODELS

from lakd_mm.datasets import Digits

PLAIN = """
_base_ = '{root}/configs/teachers/resnet32_digits.py'
model = dict(backbone=dict(depth={depth}), head=dict(num_classes={classes}))
test_dataloader = dict(dataset=dict(indices=40))
"""
PAIR = """
_base_ = '{root}/configs/lakd/lakd_r32_r14_digits.py'
model = dict(architecture=dict(backbone=dict(depth=8)), teacher=dict(backbone=dict(depth=14)))
"""
CORRUPTED = """
_base_ = 'small.py'
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='mmrazor.Corrupt', name='gaussian_noise', severity=5, channel_order='rgb'),
    dict(type='mmpretrain.PackInputs')]))
test_evaluator = [
    dict(type='mmpretrain.Accuracy', topk=(1,)), dict(type='mmrazor.CalibrationError')]
"""
SMALL = ('--model', 'small', 'small.py', 'small.pth')
BIG = ('--model', 'big', 'big.py', 'big.pth')


@torch.no_grad()
def predict_different_classes(network, images):
    """Gives a network with random weights the statistics of these images."""
    network.train()
    for _ in range(20):
        network(images, mode='tensor')
    network.eval()
    network.head.fc.weight.normal_()
    network.head.fc.bias.zero_()
    network.head.fc.bias.sub_(network(images, mode='tensor').mean(0))


@pytest.fixture(scope='module')
def made(tmp_path_factory, root):
    """A folder of configs and checkpoints."""
    folder = tmp_path_factory.mktemp('made')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    digits = Digits(split='test', indices=40)
    images = torch.stack([torch.from_numpy(one['img']).permute(2, 0, 1) for one in digits])
    images = (images - 77.822) / 95.878
    for name, depth, classes in (('big', 14, 10), ('small', 8, 10), ('other', 8, 3)):
        config = folder / f'{name}.py'
        config.write_text(PLAIN.format(root=root, depth=depth, classes=classes))
        network = MODELS.build(Config.fromfile(config).model)
        predict_different_classes(network, images)
        state = network.state_dict()
        save_checkpoint(dict(state_dict=state), str(folder / f'{name}.pth'))
        if name == 'small':
            distilled = {f'architecture.{key}': value for key, value in state.items()}
            save_checkpoint(dict(state_dict=distilled), str(folder / 'distilled.pth'))
    (folder / 'pair.py').write_text(PAIR.format(root=root))
    (folder / 'noisy.py').write_text(CORRUPTED)
    return folder


@pytest.fixture(autouse=True)
def files(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def facts_of(path):
    return json.loads(path.with_suffix('.json').read_text())


def test_compares(tool, tmp_path, monkeypatch):
    monkeypatch.setattr('lakd_mm.evaluation.efficiency.CALLS', 3)
    distilled = ('--model', 'distilled', 'pair.py', tmp_path / 'distilled.pth')
    out = tmp_path / 'f' / 'all.png'
    options = ('--samples', 100, '--latency', '--severities', 5, 2, '--out', out)
    assert tool('robustness', *BIG, *SMALL, *distilled, *options) is None
    facts = facts_of(out)
    assert (facts['images'], facts['severities'], facts['seed']) == (40, [2, 5], 0)
    assert str(tmp_path) not in out.with_suffix('.json').read_text()
    big, small, distilled = facts['models']
    assert distilled['checkpoint'] == 'distilled.pth'
    for key in ('clean', 'corrupted', 'mean_corruption_error', 'parameters', 'macs', 'bytes'):
        assert (distilled[key] == small[key]) and (key == 'clean' or small[key] != big[key])
    assert len(big['corrupted']) == 7
    errors = {n: [100 - top1 for top1 in one['top1']] for n, one in big['corrupted'].items()}
    assert big['mean_corruption_error'] == pytest.approx(np.mean(list(errors.values())))
    assert big['corruption_error_against_first'] == pytest.approx(100)
    ratios = [
        sum(100 - top1 for top1 in small['corrupted'][n]['top1']) / sum(errors[n]) for n in errors
    ]
    assert small['corruption_error_against_first'] == pytest.approx(100 * np.mean(ratios))
    for batch in ('batch_1', 'batch_32'):
        times = small['latency_ms'][batch]
        assert 0 < times['p50'] <= times['p90'] <= times['p99']

    text = out.with_suffix('.md').read_text()
    rows = [line.split(' | ') for line in text.splitlines() if line.startswith('| small')]
    assert rows[0][1:3] == [
        f'{small["clean"]["top1"]:.2f}',
        f'{small["mean_corruption_error"]:.2f}',
    ]
    noise = np.mean(small['corrupted']['gaussian_noise']['top1'])
    assert rows[1][1] == f'{noise:.2f}'
    assert (
        '40 test images, seed 0, severities 2, 5' in text and 'p50 / p90 / p99 of 3 calls' in text
    )
    picture = cv2.imread(str(out))
    assert picture.std() > 0 and picture.shape[1] > 4 * 300  # 8 panels in two rows

    # What tools/test.py gives of a pipeline with the same corruption.
    arguments = ('noisy.py', 'small.pth', '--out', 'm.json', '--out-item', 'metrics')
    assert tool('test', *arguments) is None
    tested = json.loads((tmp_path / 'm.json').read_text())
    measured = small['corrupted']['gaussian_noise']
    assert tested['accuracy/top1'] == pytest.approx(measured['top1'][1], abs=1e-4)
    assert tested['calibration/ece'] == pytest.approx(measured['ece'][1], abs=1e-3)


def test_files(tool, tmp_path):
    """Corrupted images out of files: what is in them counts, not the config's images."""
    folder = tmp_path / 'c'
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5 * 12, 32, 32, 3), dtype=np.uint8)
    np.save(folder / 'fog.npy', images)
    network = MODELS.build(Config.fromfile(tmp_path / 'small.py').model)
    network.load_state_dict(torch.load(tmp_path / 'small.pth')['state_dict'])
    cfg = Config.fromfile(tmp_path / 'small.py').data_preprocessor
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).double() - cfg.mean[0]
    with torch.no_grad():
        classes = network.double().eval()(inputs / cfg.std[0], mode='tensor').argmax(1)
    # Severity 1 is all right; the last half of severity 2 is wrong.
    labels = classes.clone()
    labels[18:24] = (labels[18:24] + 1) % 10
    np.save(folder / 'labels.npy', labels.numpy())
    options = ('--cifar-c', folder, '--severities', 1, 2, '--batch-size', 5, '--out', 'c.png')
    assert tool('robustness', *SMALL, *options) is None
    facts = facts_of(tmp_path / 'c.png')
    assert facts['models'][0]['corrupted']['fog']['top1'] == [100, 50]
    assert facts['models'][0]['mean_corruption_error'] == 25 and facts['images'] == 40
    assert facts['source'] == 'files of CIFAR-C'
    assert 'latency_ms' not in facts['models'][0]


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((*SMALL, *SMALL), '--model: the names small, small must differ'),
        ((*SMALL, '--corruptions', 'blur'), "there is no corruption 'blur'"),
        ((*SMALL, '--severities', 6), 'severity 6: there are 1 (mild) to 5'),
        ((*SMALL, '--cifar-c', '.', '--severities', 0), 'severity 0: there are 1 (mild) to 5'),
        ((*SMALL, '--cifar-c', 'none'), 'none: CIFAR-10-C and CIFAR-100-C are folders'),
        ((*SMALL, '--seed', -1), 'seed=-1 is not a whole number of at least 0'),
        ((*SMALL, '--samples', 0), '0 images in batches of 100: both must be positive'),
        ((*SMALL, '--out', 'x.jpg'), 'must end in .png'),
        (('--model', 'a', 'none.py', 'small.pth'), 'config none.py: '),
        ((*SMALL, '--model', 'a', 'small.py', 'none.pth'), "checkpoint 'none.pth' does not exist"),
        ((*SMALL, '--model', 'a', 'big.py', 'small.pth'), 'checkpoint small.pth does not fit'),
        (
            (*SMALL, '--model', 'a', 'other.py', 'other.pth'),
            'a has 3 classes, but the test images have 10',
        ),
    ],
)
def test_mistakes(tool, tmp_path, arguments, message):
    found = tool('robustness', '--out', 'r.png', *arguments)
    assert found.startswith('error: ') and message in found
    assert not list(tmp_path.glob('r.*'))
