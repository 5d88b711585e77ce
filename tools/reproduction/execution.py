"""Runs, several at a time, until all are done; can be stopped at any moment."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .progress import Progress
from .runs import Run, environment

# Seconds between two looks at what runs.
PAUSE = 0.5
# Times that one run is started again for an epoch that has no record.
TRIES = 2


@dataclass
class _Process:
    run: Run
    slot: int
    popen: subprocess.Popen
    known: int
    tries: int = 1


def execute(
    runs: Sequence[Run],
    progress: Progress,
    jobs: int = 1,
    threads: Optional[int] = None,
    devices: int = 0,
    lock: Optional[int] = None,
) -> list[Run]:
    """Run what is not done yet.

    Args:
        runs (Sequence[Run]): All runs, in their order.
        progress (Progress): Is told what happens.
        jobs (int): Processes at a time.
        threads (int, optional): Of each process. Defaults to an equal share of the cores.
        devices (int): GPUs.
        lock (int, optional): File descriptor that each process inherits, to hold the lock too.

    Returns:
        List[Run]: Those that failed.
    """
    waiting = [run for run in runs if run.result() is None and run.finish() is None]
    progress.begin(runs, [run for run in runs if run not in waiting], jobs)
    threads = threads or max(1, _cores() // jobs)
    active: list[_Process] = []
    failed: list[Run] = []
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                slot = min(set(range(jobs)) - {process.slot for process in active})
                active.append(_start(waiting.pop(0), slot, threads, devices, lock))
                progress.started(active[-1].run)
            time.sleep(PAUSE)
            for process in list(active):
                run, code = process.run, process.popen.poll()
                # Behind the poll: what has ended has written all it will.
                for record in run.records()[process.known :]:
                    progress.epoch(run, record)
                    process.known += 1
                if code is None:
                    continue
                active.remove(process)
                if run.finish() is not None:
                    progress.done(run)
                elif code == 0 and process.tries < TRIES:
                    active.append(_start(run, process.slot, threads, devices, lock))
                    active[-1].tries, active[-1].known = process.tries + 1, process.known
                else:
                    failed.append(run)
                    progress.failed(run, code, _tail(run.folder / 'output.log'))
            progress.tick()
    finally:
        _stop(active)
        progress.end()
    return failed


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _tail(path: Path, lines: int = 12) -> str:
    """Return the end of a file."""
    text = path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''
    return '\n'.join(text.splitlines()[-lines:])


def _start(run: Run, slot: int, threads: int, devices: int, lock: Optional[int]) -> _Process:
    command = run.prepare()
    with open(run.folder / 'output.log', 'ab') as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(threads, slot, devices),
            # Not the terminal's group: Ctrl+C reaches this program alone, which then ends all.
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
            preexec_fn=_die_with_parent if _LIBC else None,
        )
    return _Process(run, slot, popen, len(run.records()))


def _stop(active: list[_Process]) -> None:
    """End processes and all that they have started."""
    for signal_number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for process in active:
            if process.popen.poll() is None:
                os.killpg(process.popen.pid, signal_number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(p.popen.poll() is None for p in active):
            time.sleep(0.05)


# Loaded here, not between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def _die_with_parent() -> None:
    """Have the system end this process when the one that started it is gone, killed or not."""
    pr_set_pdeathsig = 1
    _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)
