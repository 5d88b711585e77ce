import re
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch

import lakd_mm  # noqa: F401  (the whole checkpoint holds more than tensors)

pytestmark = pytest.mark.slow

TOOL = 'model_converters/export_student.py'
CONFIG = """
_base_ = '{root}/configs/_base_/datasets/digits.py'
default_scope = 'mmpretrain'
custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)
network = dict(
    type='ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')
    ),
)
model = dict(type='mmrazor.LAKD', architecture=network, teacher=network, teacher_taps=[1, 2, 3])
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
val_dataloader = dict(dataset=dict(indices=64))
test_dataloader = dict(dataset=dict(indices=64))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='accuracy/top1', rule='greater')
)
custom_hooks = [
    dict(type='EMAHook', momentum=0.5),
    dict(type='mmrazor.ExportStudentHook', filename='alone.pth'),
]
randomness = dict(seed=0)
"""


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_export(run, run_tool, root, tmp_path):
    """A training with moving averages, its student by hook and by tool, and MMPretrain's test."""
    (tmp_path / 'tiny.py').write_text(CONFIG.format(root=root))
    result = run_tool('train.py', 'tiny.py', '--work-dir', 'work')
    assert result.returncode == 0, result.stdout
    best = max(float(text) for text in re.findall(r'accuracy/top1: (\S+)', result.stdout))
    (checkpoint,) = (tmp_path / 'work').glob('best_accuracy_top1_epoch_*.pth')
    assert f'The student of {checkpoint} is in' in result.stdout

    result = run_tool(TOOL, 'work', 'out/student.pth', '--onnx', 'out/student.onnx')
    assert result.returncode == 0, result.stdout
    assert f'work/{checkpoint.name}: the student, 78,042 parameters, moving averages' in (
        result.stdout
    )
    assert re.search(r'-> out/student.onnx, \d+ kB: images of \(3, 32, 32\), logits', result.stdout)
    assert (tmp_path / 'out' / 'student.onnx').stat().st_size > 4 * 78_042

    exported, hooked = weights(tmp_path / 'out/student.pth'), weights(tmp_path / 'work/alone.pth')
    whole = weights(checkpoint)
    assert exported.keys() == hooked.keys()
    for name, tensor in exported.items():
        assert torch.equal(tensor, hooked[name])
        assert torch.equal(tensor, whole[f'architecture.{name}'])
    assert (tmp_path / 'out/student.py').read_text() == (tmp_path / 'work/alone.py').read_text()

    test = Path(mmpretrain.__file__).parent / '.mim' / 'tools' / 'test.py'
    result = run(sys.executable, test, 'out/student.py', 'out/student.pth', '--work-dir', 'test')
    assert result.returncode == 0, result.stdout
    (accuracy,) = re.findall(r'accuracy/top1: (\S+)', result.stdout)
    assert float(accuracy) == pytest.approx(best, abs=1e-3)

    refused = run_tool(TOOL, 'work', 'out/new.pth', '--onnx', 'out/student.onnx')
    assert refused.returncode == 1
    assert 'error: out/student.onnx exists; name another file' in refused.stdout
    assert 'Traceback' not in refused.stdout and not (tmp_path / 'out' / 'new.pth').exists()
