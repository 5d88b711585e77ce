import importlib
import json
import sys

import pytest
import torch

pytestmark = pytest.mark.slow


def test_memory_of_lakds_table_4(run_tool, tmp_path):
    """Local backward takes less than training from scratch, other distillation more."""
    out = tmp_path / 'memory.json'
    done = run_tool('benchmarks/memory.py', '--batch-size', '32', '--out', out)
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())['rows']
    ratio = {row['training']: row['live / scratch'] for row in rows}
    assert ratio['from scratch'] == 1
    # The first two differ in modules that are not where memory peaks.
    assert ratio['LAKD local [1,4,9]'] == ratio['LAKD local [2,5,9]'] < ratio['LAKD local [3,6,9]']
    assert ratio['LAKD local [3,6,9]'] < 1 < ratio['CAT-KD'] < ratio['FitNet, 3 taps']
    assert ratio['LAKD joint [1,4,9]'] > 1
    assert all(row['training'] in done.stdout for row in rows)


def test_step_time(run_tool, tmp_path):
    out, traces = tmp_path / 'time.json', tmp_path / 'traces'
    rows = ['from scratch', 'LAKD local [1,4,9]']
    options = ['--batch-size', '4', '--rounds', '1', '--rows', *rows]
    done = run_tool('benchmarks/step_time.py', *options, '--out', out, '--trace', traces)
    assert done.returncode == 0, done.stdout
    written = json.loads(out.read_text())
    assert [row['training'] for row in written['rows']] == rows
    assert written['rows'][0]['/ from scratch'] == 1 and written['batch'] == 4
    assert written['rows'][0]['training'] + ', bf16' not in done.stdout
    for name in ('from_scratch', 'LAKD_local_[1-4-9]'):
        assert json.loads((traces / f'{name}.json').read_text())['traceEvents']
    refused = run_tool('benchmarks/step_time.py', '--rows', 'LAKD')
    assert refused.returncode == 2 and "no rows ['LAKD']; there are" in refused.stdout


def test_step_time_in_bf16_beside_float32(run_tool, tmp_path):
    out, traces = tmp_path / 'time.json', tmp_path / 'traces'
    options = ['--batch-size', '4', '--rounds', '1', '--rows', 'KD', '--amp', 'bf16']
    done = run_tool('benchmarks/step_time.py', *options, '--out', out, '--trace', traces)
    assert done.returncode == 0, done.stdout
    assert [row['training'] for row in json.loads(out.read_text())['rows']] == ['KD', 'KD, bf16']
    # Autocast casts what a convolution takes; float32 has nothing to cast.
    operators = {
        name: {event['name'] for event in json.loads(path.read_text())['traceEvents']}
        for name, path in (('fp32', traces / 'KD.json'), ('bf16', traces / 'KD-_bf16.json'))
    }
    casts = {name: 'ToCopyBackward0' in ' '.join(found) for name, found in operators.items()}
    assert casts == {'fp32': False, 'bf16': True}


def test_the_log_costs_the_same_late_in_a_training(run_tool, tmp_path):
    out = tmp_path / 'log.json'
    options = ['--iterations', '100', '782', '30000', '--window', '10', '--rounds', '3']
    done = run_tool('benchmarks/history_cost.py', *options, '--out', out)
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())['rows']
    size, cost = (
        {(row['log'], row['behind iteration']): row[key] for row in rows}
        for key in ('kB in a checkpoint', 'us / iteration')
    )
    assert size['ours', 100] < size['ours', 782] == size['ours', 30000]
    assert size['MMEngine as released', 30000] > 20 * size['ours', 30000]
    assert cost['ours', 30000] < cost['MMEngine as released', 30000] / 3


def test_input_speed(run_tool, tmp_path):
    out = tmp_path / 'input.json'
    done = run_tool('benchmarks/input_speed.py', '--rounds', '1', '--out', out)
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())['rows']
    assert [row['input'] for row in rows] == ['per image', 'in memory']
    assert all(row['images / s'] > 0 for row in rows)


def test_step_time_beside_mmrazor_as_released(run_tool, tmp_path):
    out = tmp_path / 'time.json'
    rows = ['KD', 'KD, MMRazor as released', 'KD, teacher kept', 'CanKD']
    options = ['--batch-size', '2', '--rounds', '1', '--rows', *rows, '--out', out]
    done = run_tool('benchmarks/step_time.py', *options)
    assert done.returncode == 0, done.stdout
    assert [row['training'] for row in json.loads(out.read_text())['rows']] == rows


def test_gpu_check_without_a_gpu(run_tool, tmp_path):
    out = tmp_path / 'checks.json'
    options = ['--device', 'cpu', '--batch-size', '2', '--out', out]
    checks = ['--checks', 'gradients', 'waiting', 'bf16', '--methods', 'crd']
    done = run_tool('benchmarks/gpu_check.py', *options, *checks, '--deadline', '500')
    assert done.returncode == 0, done.stdout
    written = json.loads(out.read_text())
    verdicts = {(row['check'], row['row']): row['verdict'] for row in written['rows']}
    assert verdicts == {
        ('gradients', 'crd'): 'ok',
        ('gradients', 'fgd, its loss alone'): 'ok',
        ('waiting', 'crd'): 'skipped: needs a GPU',
        ('bf16', 'crd'): 'ok',
    }
    found = {row['check']: row['values'] for row in written['rows'] if row['row'] == 'crd'}
    assert 0 < found['gradients']['gradient'] < written['limits']['gradient']
    assert 0 < found['bf16']['loss'] < written['limits']['bf16']
    assert '|' in done.stdout and written['batch'] == 2 and written['seconds'] > 0


def test_gpu_check_keeps_to_its_deadline(run_tool, tmp_path):
    out = tmp_path / 'checks.json'
    done = run_tool('benchmarks/gpu_check.py', '--device', 'cpu', '--deadline', '1', '--out', out)
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())['rows']
    assert {row['verdict'] for row in rows} == {'skipped: deadline'} and len(rows) > 50


@pytest.fixture
def benchmark(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / 'tools/benchmarks'))
    for name in ('common', 'memory', 'step_time', 'one_step', 'gpu_check'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


def test_gpu_check_times_and_measures_memory(benchmark, monkeypatch):
    module = benchmark('gpu_check')
    monkeypatch.setattr(module, 'TIMED', ('from scratch', 'LAKD local [1,4,9]'))
    checks = module.Checks('cpu', 4, 1)
    times = dict(checks.steps())
    assert list(times) == [name + kind for name in module.TIMED for kind in ('', ', bf16')]
    assert times['from scratch']['/ from scratch'] == 1
    assert all(values['ms'] > 0 for values in times.values())
    (first, _), (second, _) = (checks.memory(name) for name in module.TIMED)
    assert second['/ from scratch'] < first['/ from scratch'] == 1


def test_bf16_takes_less_memory(benchmark):
    common, memory = benchmark('common'), benchmark('memory')
    rows = common.in_precisions({'LAKD': (common.LAKD, {})}, 'bf16')
    assert list(rows) == ['LAKD', 'LAKD, bf16']
    trainings = [common.Training(*row, batch_size=8, size=32) for row in rows.values()]
    full, half = (memory.peak_of_step(training)['live'] for training in trainings)
    assert half < 0.9 * full


def test_gpu_check_has_every_method(benchmark, root):
    """FGD's configs are detectors; its loss has a row of its own."""
    methods = benchmark('gpu_check').telling_first()
    folders = {path.parent.name for path in (root / 'configs').glob('*/metafile.yml')}
    assert {path.split('/')[0] for path in methods.values()} - {'teachers'} == folders - {'fgd'}
    assert list(methods)[:2] == ['lakd', 'scratch']


@pytest.mark.parametrize('change', ['loss', 'gradient', 'parameter', 'nan', 'absent'])
def test_gpu_check_sees_a_wrong_result(benchmark, change):
    compare = benchmark('one_step').compare
    losses, gradients = dict(loss=2.0, student=1.0), [torch.ones(50), torch.full((4,), 0.01)]
    values, ok = compare((losses, gradients), (dict(losses, student=1.0005), gradients))
    assert ok and values == dict(loss=pytest.approx(5e-4), gradient=0, parameter=0)
    others, wrong = dict(losses), [gradient.clone() for gradient in gradients]
    if change == 'loss':
        others['student'] = 1.002
    elif change == 'gradient':
        wrong[0] *= 1.04
    elif change == 'parameter':
        wrong[1] *= 2
    elif change == 'nan':
        wrong[0][0] = torch.nan
    else:
        del wrong[1]
    assert not compare((losses, gradients), (others, wrong))[1]


def test_a_check_that_breaks_is_a_row(benchmark, monkeypatch):
    module = benchmark('gpu_check')
    monkeypatch.setattr(module.Checks, 'bf16', lambda self, config: 1 / 0)
    (row,) = module.run(module.Checks('cpu', 2, 1), 'bf16', 'kd', 'kd.py')
    assert row['verdict'] == 'FAILED' and row['values'] == dict(error='division by zero')


def test_latency(run_tool, tmp_path):
    out = tmp_path / 'latency.json'
    config = 'lakd_mm::lakd/lakd_r32_r14_digits.py'
    options = ['--calls', '1', '--batch-sizes', '1', '2', '--out', out]
    done = run_tool('benchmarks/latency.py', config, *options)
    assert done.returncode == 0, done.stdout
    rows = {row['network']: row for row in json.loads(out.read_text())['rows']}
    assert list(rows) == ['teacher', 'student', 'student, ONNX', 'student, ONNX int8']
    for batch in (1, 2):
        assert rows['teacher'][f'x teacher, batch {batch}'] == 1
        assert all(row[f'ms / image, batch {batch}'] > 0 for row in rows.values())
    assert rows['student, ONNX int8']['kB'] < 0.5 * rows['student, ONNX']['kB']
    assert rows['student']['kB'] < rows['student, ONNX']['kB'] < 1.3 * rows['student']['kB']
