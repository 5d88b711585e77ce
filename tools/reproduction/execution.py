"""Runs, several at a time, until all are done; can be stopped at any moment."""

import ctypes
import fcntl
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from lakd_mm.errors import ConfigError

from .progress import Progress
from .runs import Run

# Seconds between two looks at what runs.
PAUSE = 0.5
# Times that one run is started again for an epoch that has no record.
TRIES = 2


@contextmanager
def locked(folder: Path, patience: float = 15.0) -> Iterator[int]:
    """Hold ``folder/lock`` for as long as this process, or one that inherits the lock, lives.

    The system gives the lock up with its last holder: a file left by a kill blocks no one.
    ``patience`` is the seconds that trainings may take to end whose caller was killed. Yields the
    file descriptor to hand on (``pass_fds``) to processes that hold the lock too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with open(folder / 'lock', 'a+', encoding='utf-8') as file:
        # A FileLock would release it for those who inherited it, too.
        while not _lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip()
            alive = _alive(holder)
            if alive or time.monotonic() > deadline:
                gone = '' if alive else ', which is gone, but its trainings are not'
                who = f'process {holder or "(unknown)"}{gone}'
                todo = 'Wait for it, end it, or name another --work-dir.'
                raise ConfigError(f'{folder} is in use by {who}. {todo}')
            time.sleep(0.2)
        file.truncate(0)
        file.write(f'{os.getpid()}\n')
        file.flush()
        yield file.fileno()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(process: str) -> bool:
    return process.isdigit() and Path(f'/proc/{process}').exists()


@dataclass
class _Process:
    run: Run
    slot: int
    popen: subprocess.Popen
    known: int  # Epochs that were told of.
    tries: int = 1


def execute(
    runs: Sequence[Run],
    progress: Progress,
    jobs: int = 1,
    threads: Optional[int] = None,
    devices: int = 0,
    lock: Optional[int] = None,
    seconds: float = math.inf,
) -> list[Run]:
    """Run what is not done yet, ``jobs`` at a time; return the runs that failed.

    Each process has ``threads`` (default: its share of the cores), one of the GPUs by turns, and
    holds the ``lock``. All end after ``seconds``; a run of which no further epoch fits ends before,
    behind its last checkpoint.
    """
    deadline, cores = time.monotonic() + seconds, len(os.sched_getaffinity(0))

    def start(run: Run, slot: int, tries: int = 1) -> _Process:
        command = run.prepare()
        # Behind it: lines after the last checkpoint are gone then, and come again.
        known = len(run.records())
        with open(run.folder / 'output.log', 'ab') as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(threads or max(1, cores // jobs), slot, devices),
                # Not the terminal's group: Ctrl+C reaches this program alone, which then ends all.
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
                preexec_fn=_die_with_parent,
            )
        return _Process(run, slot, popen, known, tries)

    waiting = [run for run in runs if run.result() is None and run.finish() is None]
    active: list[_Process] = []
    failed: list[Run] = []
    try:
        progress.begin(runs, [run for run in runs if run not in waiting], jobs)
        while (waiting or active) and time.monotonic() < deadline:
            while waiting and len(active) < jobs:
                slot = min(set(range(jobs)) - {process.slot for process in active})
                run = waiting.pop(0)
                active.append(start(run, slot))
                progress.started(run)
            time.sleep(PAUSE)
            for process in list(active):
                run, code = process.run, process.popen.poll()
                # Behind the poll: what has ended has written all it will.
                new = run.records()[process.known :]
                for record in new:
                    progress.epoch(run, record)
                process.known += len(new)
                if code is None:
                    fits = not new or time.monotonic() + new[-1]['seconds'] < deadline
                    if fits or process.known == run.epochs:
                        continue
                    waiting.clear()
                    _stop([process])
                active.remove(process)
                if run.finish() is not None:
                    progress.ended(run)
                elif code is None:
                    progress.stopped(run)
                elif code == 0 and process.tries < TRIES and run.again:
                    active.append(start(run, process.slot, process.tries + 1))
                else:
                    failed.append(run)
                    output = (run.folder / 'output.log').read_text(errors='replace')
                    progress.ended(run, code, output.splitlines()[-12:])
            progress.tick()
        for process in active:
            progress.stopped(process.run)
    finally:
        _stop(active)
        progress.end()
    return failed


def environment(threads: int, slot: int, devices: int) -> dict:
    """Return the environment of a process, where the slots take turns on some GPUs."""
    variables = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'OMP_WAIT_POLICY': 'passive'}
    if devices > 1:
        given = os.environ.get('CUDA_VISIBLE_DEVICES')
        visible = given.split(',') if given else list(map(str, range(devices)))
        variables['CUDA_VISIBLE_DEVICES'] = visible[slot % len(visible)]
    return variables


def _stop(active: Sequence[_Process]) -> None:
    """End processes and all that they have started."""
    for signal_number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for process in active:
            if process.popen.poll() is None:
                os.killpg(process.popen.pid, signal_number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(p.popen.poll() is None for p in active):
            time.sleep(0.05)


# Loaded here, not between fork and exec.
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Have the system end this process when the one that started it is gone, killed or not."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
