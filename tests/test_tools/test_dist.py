"""What the shell scripts ask for and pass on; test_lakd_tools.py trains with them."""

import pytest


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
    (tmp_path / 'c.py').touch()
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


@pytest.mark.parametrize(
    'code, restarts, queued, resumes',
    [(138, 0, True, False), (138, 2, True, True), (143, 0, False, False), (0, 1, False, True)],
)
def test_slurm_queues_again(run, root, tmp_path, code, restarts, queued, resumes):
    """Behind SIGUSR1, which says that the time is over; not behind scancel's SIGTERM."""
    for name, end in (('srun', f'exit {code}'), ('scontrol', 'exit 0')):
        script = tmp_path / name
        script.write_text(f'#!/usr/bin/env bash\necho {name} "$@"\n{end}\n')
        script.chmod(0o755)
    (tmp_path / 'c.py').touch()
    result = run(
        *['bash', root / 'tools/slurm_train.sh', 'part', 'job', 'c.py', 'w'],
        PATH=f'{tmp_path}:/usr/bin:/bin',
        SLURM_JOB_ID='77',
        SLURM_RESTART_COUNT=str(restarts),
    )
    assert result.returncode == code
    assert ('scontrol requeue 77' in result.stdout) == queued
    assert (' --launcher=slurm --resume' in result.stdout) == resumes
