import importlib.util
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config


def shown_lrs(output):
    return re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[.*?lr: (\S+)', output)


@pytest.mark.slow
def test_train_again_then_resume(run_tool, tiny_config, trained, tmp_path):
    """A second training keeps the first one's checkpoint; a finished one resumes to nothing."""
    first = (trained / 'output.txt').read_text()
    work_dir = tmp_path / 'work_dirs' / 'tiny'
    shutil.copytree(trained / 'work_dirs' / 'tiny', work_dir)
    saved = (work_dir / 'epoch_1.pth').read_bytes()

    options = ['--seed', '3', '--no-validate', '--auto-scale-lr']
    second = run_tool('train.py', tiny_config, *options)
    assert second.returncode == 0, second.stdout
    (previous,) = work_dir.glob('previous_*')
    assert sorted(path.name for path in previous.iterdir()) == ['epoch_1.pth', 'last_checkpoint']
    assert (previous / 'epoch_1.pth').read_bytes() == saved
    assert f'they are now in {previous}: epoch_1.pth' in second.stdout
    assert 'Epoch(val)' in first and 'Epoch(val)' not in second.stdout
    assert set(shown_lrs(first)) == {('1', '1.0000e-01')}
    assert set(shown_lrs(second.stdout)) == {('1', '5.0000e-02')}  # batch 16, base 32
    assert Config.fromfile(work_dir / 'tiny.py').randomness.seed == 3

    saved = (work_dir / 'epoch_1.pth').read_bytes()
    third = run_tool('train.py', tiny_config, '--resume')
    assert third.returncode == 0, third.stdout
    assert 'resumed epoch: 1, iter: 4' in third.stdout
    assert 'Epoch(train)' not in third.stdout
    assert (work_dir / 'epoch_1.pth').read_bytes() == saved
    assert list(work_dir.glob('previous_*')) == [previous]


@pytest.mark.slow
def test_resume_after_a_kill(run_tool, tiny_config, tmp_path, root):
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=3',
        'train_dataloader.dataset.indices=640',
    ]
    command = [sys.executable, root / 'tools/train.py', tiny_config, '--work-dir', 'w', '--resume']
    output = ''
    with subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            output += line
            if re.search(r'Epoch\(train\)\s+\[2\]\[\s*3/', line):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, output
    assert '--resume: no checkpoint in w, training starts anew.' in output
    assert sorted(path.name for path in (tmp_path / 'w').glob('*.pth')) == ['epoch_1.pth']

    resumed = run_tool('train.py', tiny_config, '--work-dir', 'w', '--resume', *options)
    assert resumed.returncode == 0, resumed.stdout
    assert 'resumed epoch: 1, iter: 40' in resumed.stdout
    # The scheduler goes on where it was: the step came after epoch 1.
    assert set(shown_lrs(resumed.stdout)) == {('2', '1.0000e-02'), ('3', '1.0000e-02')}
    checkpoint = torch.load(tmp_path / 'w' / 'epoch_3.pth')
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (3, 120)
    momenta = checkpoint['optimizer']['state'].values()
    assert all(state['momentum_buffer'].abs().sum() > 0 for state in momenta)


@pytest.fixture
def refuse(root, monkeypatch, tmp_path):
    """Runs tools/train.py in this process, and returns the message it ends with."""
    spec = importlib.util.spec_from_file_location('tools_train', root / 'tools/train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run_refused(*arguments):
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            tool.main()
        return end.value.code

    return run_refused


def test_refused_before_anything_is_written(refuse, tiny_config, tmp_path, monkeypatch):
    clash = refuse(tiny_config, '--cfg-options', 'train_cfg.max_epochs=ten')
    assert clash == (
        'error: --cfg-options train_cfg.max_epochs=ten: that is a string, the config has a number '
        '(1). Give a number.'
    )
    assert refuse('absent.py').startswith('error: config absent.py:')
    assert 'no such config' in refuse('lakd_mm::lakd/absent.py')
    monkeypatch.setattr('lakd_mm.engine.config_checks.get_device', lambda: 'cpu')
    assert refuse(tiny_config, '--amp', 'fp16').startswith('error: --amp: a CPU trains in bfloat16')

    extra = "optim_wrapper['type'] = 'ApexOptimWrapper'\nauto_scale_lr = dict()\n"
    tiny_config.write_text(tiny_config.read_text() + extra)
    assert 'optim_wrapper.type is ApexOptimWrapper' in refuse(tiny_config, '--amp')
    assert 'no auto_scale_lr.base_batch_size' in refuse(tiny_config, '--auto-scale-lr')

    extra = "train_dataloader['dataset'] = dict(_delete_=True, type='CustomDataset', "
    extra += "data_root='nowhere')\n"
    tiny_config.write_text(tiny_config.read_text() + extra)
    absent = refuse(tiny_config)
    assert absent.startswith('error: train_dataloader.dataset.data_root: nowhere does not exist')
    assert list(tmp_path.iterdir()) == [tiny_config]


def test_another_number_of_classes(run_tool, tiny_config, tmp_path):
    work_dir = tmp_path / 'work_dirs' / 'tiny'
    work_dir.mkdir(parents=True)
    (work_dir / 'epoch_1.pth').touch()
    result = run_tool('train.py', tiny_config, '--cfg-options', 'model.head.num_classes=7')
    assert result.returncode == 1
    assert 'Traceback' not in result.stdout
    assert result.stdout.endswith(
        'error: train_dataloader.dataset has 10 classes, but the head of model has num_classes=7. '
        'Set num_classes of that head to 10, or use other data.\n'
    )
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']
    assert not list(work_dir.glob('previous_*'))


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
@pytest.mark.parametrize('given, expected', [(None, ':4096:8'), (':16:8', ':16:8')])
def test_cublas_is_deterministic_unless_told_otherwise(monkeypatch, root, tool, given, expected):
    """PyTorch raises without this, on a GPU with randomness=dict(deterministic=True)."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)
    if given:
        os.environ['CUBLAS_WORKSPACE_CONFIG'] = given
    runpy.run_path(str(root / 'tools' / tool))
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == expected
