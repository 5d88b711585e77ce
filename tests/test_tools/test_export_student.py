import json
import re
import sys
from pathlib import Path

import mmpretrain
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config

from lakd_mm.engine.networks import build_network
from lakd_mm.evaluation.sample_images import inputs_of, sample_images

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


def test_int8(tool, root, tmp_path):
    """Random features with a head fitted in closed form: right for most digits, in int8 too."""
    cfg = Config.fromfile(root / 'configs/lakd/lakd_r32_r14_digits.py')
    cfg.model.architecture.backbone.depth = 8
    cfg.dump(tmp_path / 'pair.py')
    torch.manual_seed(0)
    network = build_network(cfg)
    batches = {
        split: next(iter(sample_images(cfg, 2000, 2000, split=split)))
        for split in ('train', 'test')
    }
    images, labels = {}, {}
    for split, batch in batches.items():
        images[split] = inputs_of(batch, network.data_preprocessor)
        labels[split] = torch.cat([sample.gt_label for sample in batch['data_samples']])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of the one batch
    with torch.no_grad():
        network.train()(images['train'][:256])
        features = network.eval().extract_feat(images['train'])[-1]
        targets = torch.nn.functional.one_hot(labels['train']).float() - 0.1
        fitted = torch.linalg.lstsq(features, targets).solution
        network.head.fc.weight.copy_(fitted.T)
        network.head.fc.bias.zero_()
        predicted = network(images['test']).argmax(dim=1)
    right = (predicted == labels['test']).float().mean().item()
    assert right > 0.85
    state = {f'architecture.{name}': value for name, value in network.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')

    files = ('--config', 'pair.py', '--int8', 'out/int8.onnx', '--exported', 'out/student.pt2')
    options = ('--calibration', 64)
    assert tool('export_student', 'epoch_1.pth', 'out/student.pth', *files, *options) is None
    facts = json.loads((tmp_path / 'out/int8.json').read_text())
    assert (facts['test_images'], facts['calibration_images']) == (355, 64)
    assert facts['top1']['float32'] == pytest.approx(100 * right, abs=0.3)
    assert facts['top1']['int8'] == pytest.approx(facts['top1']['float32'], abs=3)
    assert facts['bytes']['int8'] < 0.5 * facts['bytes']['float32']

    # ONNX Runtime has integers in the file, and gets the accuracy that is written.
    model = onnx.load(tmp_path / 'out/int8.onnx')
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert {prop.key for prop in model.metadata_props} >= {'classes', 'mean', 'std'}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(None, {'images': images['test'].numpy()})
    found = (torch.from_numpy(logits).argmax(dim=1) == labels['test']).float().mean().item()
    assert 100 * found == pytest.approx(facts['top1']['int8'], abs=0.3)
    program = torch.export.load(tmp_path / 'out/student.pt2').module()
    assert torch.equal(program(images['test']).argmax(dim=1), predicted)
    written = sorted(file.name for file in (tmp_path / 'out').iterdir())
    assert written == ['int8.json', 'int8.onnx', 'student.pt2', 'student.pth', 'student.py']


def test_int8_needs_training_images(tool, root, tmp_path):
    cfg = Config.fromfile(root / 'configs/lakd/lakd_r32_r14_digits.py')
    cfg.pop('train_dataloader')
    cfg.dump(tmp_path / 'pair.py')
    state = {f'architecture.{k}': v for k, v in build_network(cfg).state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    options = ('--config', 'pair.py', '--int8', 'int8.onnx')
    found = tool('export_student', 'epoch_1.pth', 'student.pth', *options)
    assert re.search('error: .*it has no train_dataloader', found)
    assert not (tmp_path / 'int8.onnx').exists() and not (tmp_path / 'student.pth').exists()
