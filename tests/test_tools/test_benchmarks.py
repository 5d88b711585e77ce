import json

import pytest

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


def test_input_speed(run_tool, tmp_path):
    out = tmp_path / 'input.json'
    done = run_tool('benchmarks/input_speed.py', '--rounds', '1', '--out', out)
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())['rows']
    assert [row['input'] for row in rows] == ['per image', 'in memory']
    assert all(row['images / s'] > 0 for row in rows)


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
