"""A training that is asked to stop saves, and goes on to the bit."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import find_latest_checkpoint
from small_run import small_runner

from lakd_mm.engine import StopHook

STOCK = dict(
    dataset=dict(
        type='mmrazor.Digits',
        split='train',
        indices=48,
        pipeline=[
            dict(type='mmpretrain.RandomCrop', crop_size=32, padding=4),
            dict(type='mmpretrain.RandomFlip', prob=0.5),
            dict(type='mmpretrain.PackInputs'),
        ],
    ),
    collate_fn=dict(type='default_collate'),
)
WORKERS = dict(STOCK, num_workers=2, persistent_workers=True)


class Ask(Hook):
    """Sends this process a signal in a certain iteration."""

    def __init__(self, iteration, number=signal.SIGTERM):
        self.iteration, self.number = iteration, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


class Draw(Hook):
    """Draws random numbers in each iteration, as dropout and mixing would."""

    def __init__(self):
        self.drawn = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.drawn.append(torch.rand(1).item())


@pytest.fixture(autouse=True)
def handlers():
    """Gives the signals back that an ended training listened to.

    A shell lets what it runs in the background ignore SIGINT, and then a training does too.
    """
    before = {number: signal.getsignal(number) for number in (15, 2, signal.SIGUSR1)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def trained(folder, *hooks, **kwargs):
    schedule = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=8)]
    draw = Draw()
    runner = small_runner(
        folder,
        epochs=kwargs.pop('epochs', 3),
        param_scheduler=schedule,
        custom_hooks=[dict(type='EMAHook'), StopHook(), draw, *hooks],
        **kwargs,
    )
    return runner, draw


def state(path):
    """What a run has at its end, flat; lists of numbers as tensors."""
    saved = torch.load(path)
    momentum = saved['optimizer']['state']
    logged = saved['message_hub']['log_scalars']
    return {
        **saved['state_dict'],
        **{f'ema {name}': value for name, value in saved['ema_state_dict'].items()},
        **{f'momentum {i}': s['momentum_buffer'] for i, s in momentum.items() if s},
        'losses': torch.tensor(logged['train/loss'].data[0]),
        'lr': torch.tensor(logged['train/lr'].data[0]),
        'iter': torch.tensor(saved['meta']['iter']),
    }


@pytest.mark.parametrize('batches', [None, STOCK, WORKERS], ids=['memory', 'stock', 'workers'])
@pytest.mark.parametrize('iteration', [4, 5], ids=['middle', 'last of the epoch'])
def test_goes_on_to_the_bit(tmp_path, batches, iteration):
    runner, draw = trained(tmp_path / 'whole', batches=batches)
    runner.train()
    assert len(draw.drawn) == 9

    runner, first = trained(tmp_path / 'asked', Ask(iteration), batches=batches)
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 143
    path = str(tmp_path / 'asked' / 'interrupted.pth')
    assert find_latest_checkpoint(str(tmp_path / 'asked')) == path
    assert torch.load(path)['meta']['position']['batches'] == iteration % 3 + 1

    torch.rand(7)  # a new process has drawn other random numbers by now
    runner, second = trained(tmp_path / 'asked', batches=batches, resume=True)
    runner.train()
    assert first.drawn + second.drawn == draw.drawn
    expected, found = (state(tmp_path / name / 'epoch_3.pth') for name in ('whole', 'asked'))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert not os.path.exists(path)


def test_batches_that_are_done_are_not_loaded_without_workers(tmp_path, monkeypatch):
    runner, _ = trained(tmp_path, Ask(4), batches=STOCK)
    with pytest.raises(SystemExit):
        runner.train()
    runner, _ = trained(tmp_path, batches=STOCK, resume=True, epochs=2)
    loaded = []
    dataset = runner.train_dataloader.dataset
    get = type(dataset).__getitem__
    monkeypatch.setattr(
        type(dataset), '__getitem__', lambda self, i: loaded.append(i) or get(self, i)
    )
    runner.train()
    assert len(loaded) == 16  # the third batch of the second epoch


@pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper'])
@pytest.mark.parametrize('where', ['inside an epoch', 'at its end'])
def test_accumulated_gradients_go_on(tmp_path, kind, where):
    optimizer = dict(type='SGD', lr=0.05, momentum=0.9)
    options = dict(optim_wrapper=dict(type=kind, optimizer=optimizer, accumulative_counts=4))
    runner, _ = trained(tmp_path / 'whole', **options)
    runner.train()
    if where == 'at its end':
        (tmp_path / 'asked').mkdir()
        shutil.copy(tmp_path / 'whole' / 'epoch_1.pth', tmp_path / 'asked')
    else:
        runner, _ = trained(tmp_path / 'asked', Ask(4), **options)
        with pytest.raises(SystemExit):
            runner.train()
        assert torch.load(tmp_path / 'asked' / 'interrupted.pth')['meta']['iter'] == 5

    runner, _ = trained(tmp_path / 'asked', resume=True, **options)
    runner.train()
    found, expected = (state(tmp_path / name / 'epoch_3.pth') for name in ('asked', 'whole'))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGUSR1])
def test_without_epochs(tmp_path, number):
    length = dict(
        train_cfg=dict(by_epoch=False, max_iters=6),
        batches=dict(sampler=dict(type='InfiniteSampler', shuffle=True)),
        log_processor=dict(by_epoch=False),
        checkpoint=dict(by_epoch=False),
    )
    whole, draw = trained(tmp_path / 'whole', **length)
    whole.train()
    runner, first = trained(tmp_path / 'asked', Ask(3, number), **length)
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 128 + number
    runner, second = trained(tmp_path / 'asked', resume=True, **length)
    runner.train()
    assert first.drawn + second.drawn == draw.drawn
    found, expected = (state(tmp_path / name / 'iter_6.pth') for name in ('asked', 'whole'))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_ignored_signals_stay_ignored_and_all_are_given_back(tmp_path):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    runner, draw = trained(tmp_path, Ask(1, signal.SIGUSR1), epochs=1)
    runner.train()
    assert len(draw.drawn) == 3
    after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert after == before


def test_resumed_on_another_number_of_processes(tmp_path):
    runner, _ = trained(tmp_path, Ask(4))
    with pytest.raises(SystemExit):
        runner.train()
    path = tmp_path / 'interrupted.pth'
    saved = torch.load(path)
    saved['meta']['position']['random'] *= 2
    torch.save(saved, path)
    runner, _ = trained(tmp_path, resume=True)
    with pytest.raises(ValueError, match='inside an epoch of 2 processes, here are 1'):
        runner.train()


@pytest.mark.slow
def test_one_of_two_processes_is_asked(run_file, tmp_path, root):
    """Both stop behind the same iteration, and both go on to the bit."""
    script = tmp_path / 'script.py'
    script.write_text(
        f"import sys\nsys.path[:0] = ['{root}/tests', '{root}/tests/test_engine']\n"
        'from pathlib import Path\nfrom mmengine.dist import get_rank\n'
        'from test_stop_hook import Ask, trained\n'
        'folder, asked = Path(sys.argv[1]), sys.argv[2:]\n'
        "runner, _ = trained(folder, launcher='pytorch', resume=asked == ['on'],\n"
        "                    env_cfg=dict(dist_cfg=dict(backend='gloo')),\n"
        "                    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05),\n"
        '                                       accumulative_counts=4))\n'
        "if asked == ['ask'] and get_rank() == 1:\n    runner.register_hook(Ask(4))\n"
        'runner.train()\n'
    )
    for name, what, code in (('whole', 'no', 0), ('asked', 'ask', 143), ('asked', 'on', 0)):
        result = run_file(script, tmp_path / name, what, ranks=2)
        assert result.returncode == code, result.stdout
    found, expected = (state(tmp_path / name / 'epoch_3.pth') for name in ('asked', 'whole'))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def start(folder, root, config, *options):
    """Run tools/train.py in a process of its own, in a session that a test may signal."""

    def listen():
        # A shell's background jobs would ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, root / 'tools/train.py', config, '--work-dir', folder, *options]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=listen,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        start_new_session=True,
    )


def until(process, text):
    """Read what a process prints up to a line."""
    seen = ''
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen)


@pytest.mark.slow
def test_a_real_process_with_workers_is_terminated_and_goes_on(
    run_tool, root, tiny_config, tmp_path
):
    """The whole group gets the signal, as on a cluster; the config knows nothing of it."""
    options = ['--cfg-options', 'train_cfg.max_epochs=3', 'train_dataloader.dataset.indices=320']
    options += ['train_dataloader.num_workers=2']
    whole = run_tool('train.py', tiny_config, '--work-dir', 'whole', *options)
    assert whole.returncode == 0, whole.stdout

    with start(tmp_path / 'asked', root, tiny_config, *options) as asked:
        until(asked, '[2][ 3/20]')
        os.killpg(asked.pid, signal.SIGTERM)
        printed = asked.stdout.read()
    assert asked.returncode == 143, printed
    assert 'SIGTERM: saving behind this iteration; a second one ends at once.' in printed
    assert 'Traceback' not in printed
    meta = torch.load(tmp_path / 'asked' / 'interrupted.pth')['meta']
    assert meta['epoch'] == 1 and 23 <= meta['iter'] < 40

    resumed = run_tool('train.py', tiny_config, '--work-dir', 'asked', '--resume', *options)
    assert resumed.returncode == 0, resumed.stdout
    assert f'resumed epoch: 1, iter: {meta["iter"]}' in resumed.stdout
    ends = [torch.load(tmp_path / name / 'epoch_3.pth') for name in ('whole', 'asked')]
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert repr(flat(ends[0][key])) == repr(flat(ends[1][key]))
    logs = [end['message_hub']['log_scalars'] for end in ends]
    for name in ('train/loss', 'train/lr', 'val/accuracy/top1'):
        assert logs[0][name].data[0].tolist() == logs[1][name].data[0].tolist(), name


def flat(value):
    """Tensors as lists, to compare to the bit."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(v) for key, v in value.items()}
    return [flat(v) for v in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.slow
def test_ctrl_c_once_and_twice(root, tiny_config, tmp_path, monkeypatch):
    options = ['--cfg-options', 'train_cfg.max_epochs=200', 'train_dataloader.dataset.indices=320']
    with start(tmp_path / 'once', root, tiny_config, *options) as once:
        until(once, '[1][ 2/20]')
        os.kill(once.pid, signal.SIGINT)
        printed = once.stdout.read()
    assert once.returncode == 130 and 'Traceback' not in printed, printed
    assert (tmp_path / 'once' / 'interrupted.pth').is_file()

    # An iteration of minutes puts the first one off.
    (tmp_path / 'slow.py').write_text(
        'import time\nfrom mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\nclass Slow(Hook):\n'
        '    def before_train_iter(self, runner, batch_idx, data_batch=None):\n'
        "        if batch_idx == 2:\n            print('waits', flush=True)\n"
        '            time.sleep(300)\n'
    )
    config = tmp_path / 'slow_config.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\ncustom_imports = dict(imports=['slow'])\n"
        "custom_hooks = [dict(type='mmengine.Slow')]\n"
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    with start(tmp_path / 'twice', root, config, *options) as twice:
        until(twice, 'waits')
        os.kill(twice.pid, signal.SIGINT)
        until(twice, 'a second one ends at once')
        time.sleep(1.2)
        os.kill(twice.pid, signal.SIGINT)
        twice.stdout.read()
    assert twice.returncode == -signal.SIGINT
    assert not (tmp_path / 'twice' / 'interrupted.pth').exists()
