"""Runs: killed and gone on with, skipped, redone, failing, several at a time."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
import torch
from mmengine.config import Config

from lakd_mm.errors import ConfigError
from reproduction.execution import environment, execute, locked
from reproduction.progress import Progress, duration
from reproduction.runs import Run
from reproduction.targets import Budget, Cell

pytestmark = pytest.mark.slow

DRIVER = """
import sys
sys.path.insert(0, {tools!r})
import lakd_mm
from pathlib import Path
from reproduction.execution import environment, execute
from reproduction.execution import locked
from reproduction.targets import Budget, Cell
from reproduction.planner import Settings, plan_runs
from reproduction.progress import Progress

cell = Cell('scratch', 'tiny', 'scratch_tiny', 'digits', {{'300e': 'teachers/tiny.py'}})
settings = Settings(Path({root!r}), Path({work!r}))
option = ('train_dataloader.dataset.indices', 320)
runs = plan_runs([cell], Budget(epochs=3, options=(option,)), [0], settings)
with locked(settings.work_dir) as lock:
    sys.exit(len(execute(runs, Progress(), threads=1, lock=lock)))
"""


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_and_gone_on_with(tiny_root, tiny_runs, tmp_path, root):
    """A killed caller takes its training along; the next goes on; a damaged result is redone."""
    option = ('train_dataloader.dataset.indices', 320)
    (run,) = tiny_runs(epochs=3, options=(option,))
    driver = tmp_path / 'driver.py'
    work = str(tmp_path / 'work')
    driver.write_text(DRIVER.format(tools=str(root / 'tools'), root=str(tiny_root), work=work))
    first = subprocess.Popen([sys.executable, driver], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: run.records() or first.poll() is not None)
    assert first.poll() is None, first.communicate()
    (training,) = children(first.pid)
    refused = pytest.raises(ConfigError, match=f'in use by process {first.pid}')
    with refused, locked(tmp_path / 'work'):
        raise AssertionError('held twice')
    first.send_signal(signal.SIGKILL)
    first.communicate()
    wait_for(lambda: not alive(training), 10)
    known = len(run.records())
    assert 1 <= known <= 3 and run.result() is None

    stream = io.StringIO()
    with locked(tmp_path / 'work') as lock:
        failed = execute([run], Progress(stream), threads=1, lock=lock)
    output = (run.folder / 'output.log').read_text()
    assert failed == [], stream.getvalue() + output[-2000:]
    if known < 3:
        assert f'goes on after epoch {known}' in stream.getvalue()
        assert f'resumed epoch: {known}' in output
    result = run.result()
    assert [epoch['epoch'] for epoch in result['epochs']] == [1, 2, 3]
    assert result['metrics'] == result['epochs'][2]['metrics']
    assert result['seconds'] == pytest.approx(sum(e['seconds'] for e in result['epochs']), abs=0.1)
    assert len(result['started']) == (2 if known < 3 else 1)
    assert result['hardware']['threads'] == 1

    # Cut short by a crash: made again out of what the epochs have left, without training.
    path = run.folder / 'result.json'
    path.write_text(path.read_text()[:100])
    assert run.result() is None
    stream = io.StringIO()
    assert execute([run], Progress(stream)) == []
    assert '1 to run, 1 done before; 1 at a time' in stream.getvalue()
    assert {**run.result(), 'finished': ''} == {**result, 'finished': ''}


def test_goes_on_behind_the_last_epoch_that_was_validated(tiny_runs):
    (run,) = tiny_runs(epochs=5)
    run.folder.mkdir(parents=True)
    for epoch in (1, 2, 3):
        (run.folder / f'epoch_{epoch}.pth').touch()
    lines = [json.dumps(dict(epoch=epoch, metrics={})) for epoch in (1, 2)]
    (run.folder / 'epochs.jsonl').write_text('\n'.join(lines))
    (run.folder / 'last_checkpoint').write_text('epoch_3.pth')
    # Epoch 3 was saved but not validated, or not even saved whole.
    assert run.prepare()[-2:] == ['--resume', str(run.folder / 'epoch_2.pth')]
    assert not (run.folder / 'epoch_3.pth').exists()
    assert (run.folder / 'last_checkpoint').read_text() == str(run.folder / 'epoch_2.pth')
    (run.folder / 'epoch_2.pth').unlink()
    assert run.prepare()[-1] == str(run.folder / 'epoch_1.pth')
    (run.folder / 'epoch_1.pth').unlink()
    assert '--resume' not in run.prepare()


def test_goes_on_behind_the_last_epoch_that_was_saved_with_any_interval(tiny_runs):
    """Lines after it are dropped, so that what counts them waits for the new ones."""
    (run,) = tiny_runs(epochs=20, val_interval=5)
    run.prepare()
    top1 = {'accuracy/top1': 1.0}
    lines = [dict(epoch=e, metrics={} if e % 5 else top1, seconds=1.5) for e in range(1, 8)]
    path, saved = run.folder / 'epochs.jsonl', run.folder / 'epoch_5.pth'
    path.write_text('\n'.join(map(json.dumps, lines)))
    saved.touch()
    (other,) = tiny_runs(epochs=20, val_interval=2)
    assert other.id == run.id and not other.changed()
    assert other.prepare()[-2:] == ['--resume', str(saved)]
    assert other.records() == lines[:5] and saved.exists()
    stream = io.StringIO()
    progress = Progress(stream)
    progress.begin([run], [], 1)
    progress.started(run)
    assert 'goes on after epoch 5\n' in stream.getvalue()
    plan = Config.fromfile(run.plan)
    assert (plan.train_cfg.val_interval, plan.default_hooks.checkpoint.interval) == (2, 2)
    saved.unlink()
    assert '--resume' not in other.prepare() and other.records() == []


@pytest.mark.parametrize(
    'done, lines, resumed',
    [
        (0, 0, 0),  # within the first one
        (6, 6, 6),
        (6, 5, 6),  # its line lies in the checkpoint
        (6, 7, 6),
        (4, 5, 5),  # left by an earlier stop
        (7, 5, 5),  # lines are gone
        (None, 6, 5),  # cut short
    ],
)
def test_goes_on_in_the_middle_of_an_epoch(tiny_runs, done, lines, resumed):
    (run,) = tiny_runs(epochs=20, val_interval=5)
    run.prepare()
    known = [dict(epoch=e, metrics={}, seconds=1.5) for e in range(1, lines + 1)]
    (run.folder / 'epochs.jsonl').write_text('\n'.join(map(json.dumps, known)))
    saved, middle = run.folder / 'epoch_5.pth', run.folder / 'interrupted.pth'
    saved.touch()
    torch.save(dict(meta=dict(epoch=done, position={})), middle)
    if done is None:
        middle.write_bytes(middle.read_bytes()[:200])
    expected = str(saved if resumed == 5 else middle)
    assert run.prepare()[-2:] == ['--resume', expected]
    assert run.records() == known[:resumed]
    assert (run.folder / 'last_checkpoint').read_text() == expected


def test_a_run_keeps_the_config_that_it_was_begun_with(tiny_runs, tiny_root):
    (run,) = tiny_runs(epochs=2)
    run.prepare()
    begun = (run.folder / 'plan' / 'config.py').read_text()
    config = tiny_root / 'configs' / 'teachers' / 'tiny.py'
    config.write_text(config.read_text().replace('lr=0.1', 'lr=0.3'))
    (changed,) = tiny_runs(epochs=2)
    assert changed.id == run.id and changed.changed() and not run.changed()
    changed.prepare()
    assert (run.folder / 'plan' / 'config.py').read_text() == begun
    (often,) = tiny_runs(epochs=2, val_interval=2)
    often.prepare()
    assert run.plan.read_text() == begun.replace('val_interval=1', 'val_interval=2').replace(
        ' interval=1', ' interval=2'
    )
    changed.set_aside()
    changed.prepare()
    assert 'lr=0.3' in (run.folder / 'plan' / 'config.py').read_text()
    assert not changed.changed() and len(list(run.folder.parent.glob('seed0.*.old'))) == 1


@dataclass
class ScriptRun(Run):
    """A run whose process is a few lines of Python."""

    script: str = ''
    length: int = 1

    @property
    def epochs(self):
        return self.length

    def prepare(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        return [sys.executable, '-c', self.script, str(self.folder)]


LINE = dict(
    epoch=1, metrics={'accuracy/top1': 1.0}, seconds=2.0, hardware=dict(device='', threads=1)
)
RECORD = f"""
import os, sys, time
open(sys.argv[1] + '/threads', 'w').write(os.environ['OMP_NUM_THREADS'])
open(sys.argv[1] + '/epochs.jsonl', 'w').write({json.dumps(LINE)!r})
"""


@pytest.fixture
def script_run(tmp_path):
    def make(name, script=RECORD, **options):
        cell = Cell(name, 'tiny', name, 'digits', {})
        return ScriptRun(
            name, cell, Budget(), 0, None, 1, '', tmp_path, tmp_path, script=script, **options
        )

    return make


def test_a_run_that_fails_stops_no_other(script_run, monkeypatch):
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    stream = io.StringIO()
    bad = script_run('bad', 'print("what went wrong"); raise SystemExit(3)')
    good = script_run('good')
    assert execute([bad, good], Progress(stream), threads=7) == [bad]
    text = stream.getvalue()
    assert 'bad   FAILED (exit status 3)' in text and '    what went wrong\n' in text
    assert 'good   epoch 1/1   top-1   1.00 %   2 s' in text
    assert '1 of 2 runs, 1 failed, 0 s left' in text
    assert good.result()['metrics'] == {'accuracy/top1': 1.0}
    assert (good.folder / 'threads').read_text() == '7'


def test_epochs_that_come_again_are_told_again(script_run, monkeypatch):
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    first, again = (
        ''.join(json.dumps(dict(LINE, epoch=epoch)) + '\n' for epoch in epochs)
        for epochs in ([1, 2], [2, 3])
    )
    run = script_run(
        'run', f"import sys; open(sys.argv[1] + '/epochs.jsonl', 'a').write({again!r})", length=3
    )
    run.folder.mkdir()
    (run.folder / 'epochs.jsonl').write_text(first)
    prepare = run.prepare
    monkeypatch.setattr(run, 'prepare', lambda: run.go_back(1) or prepare())
    stream = io.StringIO()
    assert execute([run], Progress(stream)) == []
    text = stream.getvalue()
    assert 'goes on after epoch 1\n' in text
    assert [f'epoch {epoch}/3 ' in text for epoch in (1, 2, 3)] == [False, True, True]


def test_several_at_a_time(script_run, monkeypatch):
    """Each of two waits until the other has begun; the third waits for a place."""
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    meet = """
from pathlib import Path
here = Path(sys.argv[1]).parent
assert len(list(here.glob('*.running'))) < 2
mine = here / (Path(sys.argv[1]).name + '.running')
mine.touch()
Path(sys.argv[1] + '.seen').touch()
while len(list(here.glob('*.seen'))) < 2:
    time.sleep(0.01)
mine.unlink()
"""
    runs = [script_run(name, RECORD + meet) for name in 'abc']
    assert execute(runs, Progress(io.StringIO()), jobs=2) == []
    assert all(run.result() for run in runs)


def test_a_run_without_a_record_is_started_once_more(script_run, monkeypatch):
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    count = "open(sys.argv[1] + '/calls', 'a').write('x')\n"
    run = script_run('silent', f'import sys\n{count}')
    assert execute([run], Progress(io.StringIO())) == [run]
    assert (run.folder / 'calls').read_text() == 'xx'


def test_what_is_done_is_not_run(script_run, monkeypatch):
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    run = script_run('once')
    execute([run], Progress(io.StringIO()))
    before = run.result()
    again = script_run('once', 'raise SystemExit(1)')
    assert execute([again], Progress(io.StringIO())) == []
    assert again.result() == before


SLOW = f"""
import json, sys, time
line = {LINE!r}
for epoch in range(1, 1000):
    line.update(epoch=epoch, seconds=TOLD)
    open(sys.argv[1] + '/epochs.jsonl', 'a').write(json.dumps(line) + chr(10))
    time.sleep(TAKEN)
"""


@pytest.mark.parametrize('told, taken, deadline', [(0.05, 100, 3), (1000, 0.1, 60)])
def test_a_deadline(script_run, monkeypatch, told, taken, deadline):
    """Everything ends at it, and before it a run of which no other epoch fits."""
    monkeypatch.setattr('reproduction.execution.PAUSE', 0.02)
    stream, since = io.StringIO(), time.monotonic()
    script = SLOW.replace('TOLD', str(told)).replace('TAKEN', str(taken))
    run, later = script_run('run', script, length=1000), script_run('later')
    assert execute([run, later], Progress(stream), seconds=deadline) == []
    assert time.monotonic() - since < 30
    known = len(run.records())
    assert 1 <= known < 20 and run.result() is None
    assert f'run   stops after epoch {known}, for the deadline' in stream.getvalue()
    assert not later.folder.exists()
    time.sleep(2 * min(taken, 0.1))
    assert len(run.records()) == known


def test_processes_take_turns_on_gpus(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    devices = [environment(1, slot, 2)['CUDA_VISIBLE_DEVICES'] for slot in range(3)]
    assert devices == ['0', '1', '0']
    assert 'CUDA_VISIBLE_DEVICES' not in environment(1, 0, 1)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,6')
    assert environment(1, 1, 2)['CUDA_VISIBLE_DEVICES'] == '6'


def test_time_left(tiny_runs):
    runs = tiny_runs(seeds=(0, 1, 2), epochs=4)
    progress = Progress(io.StringIO())
    progress.begin(runs, [], jobs=2)
    assert progress.time_left() is None
    progress.seconds, progress.reached = {runs[0].id: 10.0}, {runs[0].id: 1}
    # 3, 4 and 4 epochs of 10 s in two places.
    assert progress.time_left() == pytest.approx(55)
    # 4 s of an epoch are over.
    progress.epoch_began[runs[0].id] = time.monotonic() - 4
    assert progress.time_left() == pytest.approx(53, abs=0.5)
    progress.over = {run.id for run in runs}
    assert progress.time_left() == 0
    words = [duration(seconds) for seconds in (40, 700, 11100, 187200)]
    assert words == ['40 s', '12 min', '3 h 5 min', '2 d 4 h']


def children(process):
    """Processes that a process has started (Linux)."""
    found = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(process)], stdout=subprocess.PIPE)
    return [int(word) for word in found.stdout.split()]


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f'/proc/{process}/stat') as file:
        return file.read().rpartition(')')[2].split()[0] != 'Z'
