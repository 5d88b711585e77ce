import re
import socket

import pytest


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def test_two_processes_without_a_gpu(run, tiny_config, tmp_path, root, port):
    environment = dict(PORT=port, CUDA_VISIBLE_DEVICES='')
    trained = run(
        'bash',
        root / 'tools/dist_train.sh',
        tiny_config,
        2,
        '--work-dir',
        'w',
        '--cfg-options',
        'train_cfg.max_epochs=2',
        **environment,
    )
    assert trained.returncode == 0, trained.stdout
    # 64 images: 2 iterations of 16 images in each of 2 processes.
    assert re.search(r'Epoch\(train\)\s+\[2\]\[2/2\]', trained.stdout)
    accuracy = re.findall(r'accuracy/top1: (\S+)', trained.stdout)[-1]
    assert (tmp_path / 'w' / 'epoch_2.pth').is_file()

    tested = run(
        'bash', root / 'tools/dist_test.sh', tiny_config, 'w/epoch_2.pth', 2, **environment
    )
    assert tested.returncode == 0, tested.stdout
    assert f'accuracy/top1: {accuracy}' in tested.stdout


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_usage(run, root, name):
    result = run('bash', root / 'tools' / name, 'config.py')
    assert result.returncode == 2
    assert f'bash tools/{name} ' in result.stdout


def test_slurm_command(run, root, tmp_path):
    """Stands in for srun and prints what it is asked to run."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\necho "port=$MASTER_PORT"\n')
    srun.chmod(0o755)
    result = run(
        *['bash', root / 'tools/slurm_train.sh', 'part', 'job', 'c.py', 'w', '--seed', '1'],
        PATH=f'{tmp_path}:/usr/bin:/bin',
        GPUS='16',
        SRUN_ARGS='--time=1 --quiet',
        PORT='29501',
        PYTHON='python3',
    )
    assert result.returncode == 0, result.stdout
    words = result.stdout.split()
    assert words[:4] == ['-p', 'part', '--job-name=job', '--gres=gpu:8']
    assert words[4:6] == ['--ntasks=16', '--ntasks-per-node=8']
    assert words[8:10] == ['--time=1', '--quiet']
    tail = ['c.py', '--work-dir=w', '--launcher=slurm', '--seed', '1', 'port=29501']
    assert words[10:] == ['python3', '-u', str(root / 'tools/train.py'), *tail]
