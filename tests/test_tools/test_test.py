import json
import pickle
import re

import pytest


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
