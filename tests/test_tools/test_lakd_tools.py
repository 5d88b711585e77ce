"""LAKD itself through the command line tools, on a few digits."""

import re
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.runner import save_checkpoint
from mmrazor.registry import MODELS
from networks import LAKD_CONFIG, cifar_resnet_cfg, cifar_wrn_cfg

import lakd_mm  # noqa: F401

CONFIG = f"""{LAKD_CONFIG}val_dataloader = dict(dataset=dict(indices=32))
test_dataloader = dict(dataset=dict(indices=32))
"""
# What MMPretrain's own tool needs in a config: bases of its own, and the import.
FOREIGN = """
_base_ = ['mmpretrain::_base_/schedules/cifar10_bs128.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)
data_preprocessor = dict(mean=[78.0] * 3, std=[96.0] * 3)
digits = dict(type='mmrazor.Digits', indices=32, pipeline=[dict(type='PackInputs')])
loader = dict(batch_size=16, num_workers=0, persistent_workers=False, dataset=digits)
train_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=True), **loader)
val_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader)
val_evaluator = dict(type='Accuracy')
test_dataloader, test_evaluator = val_dataloader, val_evaluator
train_cfg = dict(max_epochs=1)


def resnet(depth):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet_CIFAR', depth=depth, base_channels=8, stem_channels=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
    )


model = dict(type='mmrazor.LAKD', architecture=resnet(18), teacher=resnet(34))
"""


@pytest.fixture
def config(tmp_path, root):
    path = tmp_path / 'tiny_lakd.py'
    path.write_text(CONFIG.format(root=root))
    teacher = MODELS.build(cifar_resnet_cfg(14))
    save_checkpoint(dict(state_dict=teacher.state_dict()), str(tmp_path / 'teacher.pth'))
    return path


@pytest.mark.slow
def test_train_resume_and_test(run_tool, config, tmp_path):
    first = run_tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs=1')
    assert first.returncode == 0, first.stdout
    for loss in ('student.loss', *(f'distill.loss_{m}' for m in ('module1', 'module3', 'cat'))):
        assert f'{loss}: ' in first.stdout
    second = run_tool('train.py', config, '--resume')
    assert second.returncode == 0, second.stdout
    assert 'resumed epoch: 1' in second.stdout
    accuracy = re.findall(r'accuracy/top1: (\S+)', second.stdout)[-1]
    (tmp_path / 'teacher.pth').unlink()
    tested = run_tool('test.py', config, 'work_dirs/tiny_lakd/epoch_2.pth')
    assert tested.returncode == 0 and f'accuracy/top1: {accuracy}' in tested.stdout, tested.stdout


@pytest.mark.slow
def test_two_processes_without_a_gpu(run, config, tmp_path, root, free_port):
    environment = dict(PORT=free_port, CUDA_VISIBLE_DEVICES='')
    trained = run('bash', root / 'tools/dist_train.sh', config, 2, '--work-dir', 'w', **environment)
    assert trained.returncode == 0, trained.stdout
    assert 'LocalDistributedDataParallel' in trained.stdout
    # 64 images: 2 iterations of 16 images in each of 2 processes.
    assert re.search(r'Epoch\(train\)\s+\[2\]\[2/2\]', trained.stdout)
    accuracy = re.findall(r'accuracy/top1: (\S+)', trained.stdout)[-1]
    assert (tmp_path / 'w/epoch_2.pth').is_file()

    tested = run('bash', root / 'tools/dist_test.sh', config, 'w/epoch_2.pth', 2, **environment)
    assert tested.returncode == 0, tested.stdout
    assert f'accuracy/top1: {accuracy}' in tested.stdout


@pytest.mark.slow
def test_mmpretrains_own_train(run, tmp_path):
    (tmp_path / 'foreign.py').write_text(FOREIGN)
    tool = Path(mmpretrain.__file__).parent / '.mim/tools/train.py'
    done = run(sys.executable, tool, 'foreign.py')
    assert done.returncode == 0, done.stdout
    assert 'distill.loss_module4: ' in done.stdout
    assert (tmp_path / 'work_dirs/foreign/epoch_1.pth').is_file()


@pytest.mark.slow
def test_what_does_not_fit_is_one_line_and_leaves_what_is_saved(run_tool, config, tmp_path):
    saved = tmp_path / 'work_dirs/tiny_lakd/epoch_9.pth'
    saved.parent.mkdir(parents=True)
    saved.write_bytes(b'precious')
    (tmp_path / 'short.pth').write_bytes((tmp_path / 'teacher.pth').read_bytes()[:5000])
    for options, message in (
        (['model.taps=[1,2,4]'], 'no residual block 4, the network has 3'),
        (['model.teacher_ckpt=short.pth'], "'short.pth' cannot be read: the file is truncated"),
        (['model.teacher.backbone.depth=20'], 'missing keys.*backbone.layer1.2.conv1.weight'),
        (
            [
                'model.architecture.head.num_classes=9',
                'model.teacher.head.num_classes=9',
                'model.teacher_ckpt=None',
            ],
            'has 10 classes.*num_classes=9',
        ),
    ):
        done = run_tool('train.py', config, '--cfg-options', *options)
        assert done.returncode == 1
        error = done.stdout[done.stdout.rindex('error: ') :]
        assert re.search(message, error, re.DOTALL), done.stdout[-2000:]
        assert 'Traceback' not in done.stdout
    assert saved.read_bytes() == b'precious'


@pytest.mark.parametrize(
    'cfg, names',
    [
        (cifar_resnet_cfg(8), {'backbone.': '', 'head.': ''}),
        (
            cifar_wrn_cfg(10),
            {
                'backbone.layer': 'block',
                'backbone.': '',
                '.0.': '.layer.0.',
                'downsample': 'convShortcut',
                'head.': '',
            },
        ),
    ],
)
def test_converter(run_tool, tmp_path, cfg, names):
    network = MODELS.build(cfg)
    state = {}
    for key, value in network.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key] = value
    torch.save(dict(model=state, epoch=240), tmp_path / 'literature.pth')
    convert = 'model_converters/literature_to_mmpretrain.py'
    done = run_tool(convert, 'literature.pth', 'ours.pth')
    assert done.returncode == 0, done.stdout
    converted = torch.load(tmp_path / 'ours.pth')['state_dict']
    assert all(torch.equal(converted[k], v) for k, v in network.state_dict().items())
    for arguments, message in (
        (('literature.pth', 'ours.pth'), 'ours.pth exists'),
        (('ours.pth', 'again.pth'), 'has no parameters named conv1.weight'),
    ):
        refused = run_tool(convert, *arguments)
        assert refused.returncode == 1 and message in refused.stdout
