import json
import pickle
import re
import warnings

import pytest
import torch
from mmengine.config import Config
from networks import LAKD_CONFIG

from lakd_mm.engine.networks import build_network

MEASURED = """
test_dataloader = dict(dataset=dict(indices=64))
test_evaluator = [dict(type='mmpretrain.Accuracy'), dict(type='mmrazor.TeacherAgreement')]
custom_hooks = [dict(type='mmrazor.ModelForMetricsHook')]
"""


@pytest.mark.slow
def test_test(run_tool, tiny_config, trained, tmp_path):
    checkpoint = trained / 'work_dirs' / 'tiny' / 'epoch_1.pth'
    logged = (trained / 'output.txt').read_text()
    accuracy = float(re.search(r'accuracy/top1: (\S+)', logged).group(1))
    metrics = run_tool(
        'test.py', tiny_config, checkpoint, '--out', 'm.json', '--out-item', 'metrics'
    )
    assert metrics.returncode == 0, metrics.stdout
    found = json.loads((tmp_path / 'm.json').read_text())
    assert found['accuracy/top1'] == pytest.approx(accuracy, abs=1e-3)

    predictions = run_tool('test.py', tiny_config, checkpoint, '--out', 'p.pkl')
    assert predictions.returncode == 0, predictions.stdout
    with open(tmp_path / 'p.pkl', 'rb') as file:
        samples = pickle.load(file)
    right = [int(sample['pred_label']) == int(sample['gt_label']) for sample in samples]
    assert len(right) == 32
    assert 100 * sum(right) / 32 == pytest.approx(accuracy, abs=1e-3)

    other = run_tool('test.py', tiny_config, checkpoint, '--cfg-options', 'model.backbone.depth=14')
    assert other.returncode == 1
    assert 'Traceback' not in other.stdout
    assert f'error: checkpoint {checkpoint} is not one of this config' in other.stdout
    assert re.search(r'missing keys in source state_dict: .*backbone\.\S+\.1\.', other.stdout)
    assert len(other.stdout.rpartition('error: ')[2]) < 800


def test_a_plain_student_beside_its_distillation(tool, root, tmp_path):
    """As a start of training takes it; the teacher of the metric comes from the config."""
    (tmp_path / 'lakd.py').write_text(LAKD_CONFIG.format(root=root) + MEASURED)
    cfg = Config.fromfile(tmp_path / 'lakd.py')
    torch.manual_seed(0)
    networks = {part: build_network(cfg, part) for part in ('student', 'teacher')}
    states = {part: network.state_dict() for part, network in networks.items()}
    for part, state in states.items():
        torch.save(dict(state_dict=state), tmp_path / f'{part}.pth')
    whole = {f'architecture.{key}': value for key, value in states['student'].items()}
    whole.update((f'teacher.{key}', value) for key, value in states['teacher'].items())
    torch.save(dict(state_dict=whole), tmp_path / 'whole.pth')
    found = []
    for name in ('student', 'whole'):
        files = ('lakd.py', f'{name}.pth', '--out', f'{name}.json', '--out-item', 'metrics')
        with warnings.catch_warnings(action='ignore'):
            assert tool('test', *files) is None
        found.append(json.loads((tmp_path / f'{name}.json').read_text()))
    assert found[0] == found[1] and len(found[0]) > 2
    logs = ''.join(file.read_text() for file in tmp_path.rglob('*.log'))
    (said,) = re.findall('load_from=.* plain network.*', logs)
    assert said.endswith(
        "'student.pth' is a plain network: it goes into the student (architecture)."
    )
    (tmp_path / 'teacher.pth').rename(tmp_path / 'moved.pth')
    moved = ('--cfg-options', 'model.teacher_ckpt=moved.pth')
    assert tool('test', 'lakd.py', 'student.pth', '--out', 'a.json', *files[4:], *moved) is None
    assert json.loads((tmp_path / 'a.json').read_text()) == found[0]
    assert tool('test', 'lakd.py', 'whole.pth') is None
    refused = tool('test', 'lakd.py', 'whole.pth', *moved)
    assert refused.startswith('error: --cfg-options model.teacher_ckpt would be ignored: the che')
    refused = tool('test', 'lakd.py', 'moved.pth')
    assert refused.startswith('error: checkpoint moved.pth is not one of this config')
