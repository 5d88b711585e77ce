"""Status lines: one an epoch, with the time that is left."""

import sys
import time
from collections.abc import Sequence
from typing import Optional, TextIO

from .runs import Run


class Progress:
    """Writes what happens; on a terminal, a last line that is kept up to date.

    Args:
        stream (TextIO, optional): Where to. Defaults to the standard output.
    """

    def __init__(self, stream: Optional[TextIO] = None):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.runs: list[Run] = []
        self.over: set = set()
        self.failures: list[str] = []
        self.seconds: dict = {}
        self.reached: dict = {}
        self.epoch_began: dict = {}
        self.jobs = 1
        self.since = time.monotonic()

    def begin(self, runs: Sequence[Run], done: Sequence[Run], jobs: int) -> None:
        """Notes what there is to do."""
        self.runs, self.jobs = list(runs), jobs
        self.over = {run.id for run in done}
        for run in runs:
            self._note(run, run.records())
        before = f', {len(self.over)} done before' if self.over else ''
        self.say(f'{len(self.runs)} to run{before}; {jobs} at a time')

    def started(self, run: Run) -> None:
        """A run begins or goes on."""
        self.epoch_began[run.id] = time.monotonic()
        reached = self.reached.get(run.id, 0)
        where = f'goes on behind epoch {reached}' if reached else 'begins'
        self.say(f'{run.label}   {where}')

    def epoch(self, run: Run, record: dict) -> None:
        """An epoch is validated."""
        self._note(run, run.records())
        self.epoch_began[run.id] = time.monotonic()
        top1 = record['metrics'].get('accuracy/top1')
        accuracy = '' if top1 is None else f'   top-1 {top1:6.2f} %'
        self.say(
            f'{run.label}   epoch {record["epoch"]}/{run.epochs}{accuracy}'
            f'   {record["seconds"]:.0f} s   | {self.outlook()}'
        )

    def done(self, run: Run) -> None:
        """A run is complete."""
        self.over.add(run.id)
        self.say(f'{run.label}   done   | {self.outlook()}')

    def failed(self, run: Run, code: int, output: str) -> None:
        """A run has ended without a result."""
        self.over.add(run.id)
        self.failures.append(run.id)
        self.say(f'{run.label}   FAILED (exit status {code}); the end of its output.log:')
        self.write('\n'.join(f'    {line}' for line in output.splitlines()) + '\n')

    def tick(self) -> None:
        """Renews the last line of a terminal."""
        if self.live:
            elapsed = duration(time.monotonic() - self.since)
            self.stream.write(f'\r\x1b[K{elapsed} since the start, {self.outlook()}')
            self.stream.flush()

    def end(self) -> None:
        """Clears the last line of a terminal."""
        if self.live:
            self.write('')

    def outlook(self) -> str:
        """How many runs are over, and the time left."""
        left = self.time_left()
        words = 'time left not known yet' if left is None else f'{duration(left)} left'
        failed = f', {len(self.failures)} failed' if self.failures else ''
        return f'{len(self.over) - len(self.failures)} of {len(self.runs)} runs{failed}, {words}'

    def time_left(self) -> Optional[float]:
        """Seconds, from the epochs that are known: a run's own, or the mean of all."""
        known = list(self.seconds.values())
        todo = [run for run in self.runs if run.id not in self.over]
        if not todo:
            return 0.0
        if not known:
            return None
        mean = sum(known) / len(known)
        left = [self._left(run, self.seconds.get(run.id, mean)) for run in todo]
        return max(sum(left) / min(self.jobs, len(left)), max(left))

    def say(self, text: str) -> None:
        """Writes a line, with the time of the day."""
        self.write(f'{time.strftime("%H:%M:%S")}  {text}\n')

    def write(self, text: str) -> None:
        """Writes text in place of a terminal's last line."""
        self.stream.write(('\r\x1b[K' if self.live else '') + text)
        self.stream.flush()

    def _left(self, run: Run, seconds: float) -> float:
        """Seconds left of a run with so many an epoch."""
        began = self.epoch_began.get(run.id)
        spent = 0.0 if began is None else min(time.monotonic() - began, seconds)
        return max(0.0, (run.epochs - self.reached.get(run.id, 0)) * seconds - spent)

    def _note(self, run: Run, records: list[dict]) -> None:
        self.reached[run.id] = len(records)
        if records:
            self.seconds[run.id] = sum(r['seconds'] for r in records) / len(records)


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h 5 min, 2 d 4 h."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    if minutes < 60:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f'{hours} h {minutes} min'
    return f'{hours // 24} d {hours % 24} h'
