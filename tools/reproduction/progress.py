"""Status lines: one an epoch, with the time that is left; below them, on a terminal, what runs."""

import time
from collections.abc import Sequence
from typing import Optional, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from .runs import Run


class Progress:
    """Writes what happens; on a terminal, a bar for each run is kept up to date below."""

    def __init__(self, stream: Optional[TextIO] = None):
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False)
        columns = TextColumn('{task.description}', markup=False), BarColumn(), MofNCompleteColumn()
        where = dict(console=self.console, disable=not self.console.is_terminal)
        self.bars = Bars(*columns, transient=True, **where)
        self.runs: list[Run] = []
        # By the run's id: its bar, when its epoch began, epochs done and the seconds of one.
        self.tasks, self.epoch_began, self.reached, self.seconds = {}, {}, {}, {}
        self.over: set = set()
        self.failures = 0
        self.jobs = 1
        self.since = time.monotonic()

    def begin(self, runs: Sequence[Run], done: Sequence[Run], jobs: int) -> None:
        """Note what there is to do."""
        self.runs, self.jobs, self.over = list(runs), jobs, {run.id for run in done}
        for run in runs:
            self._note(run)
        before = f', {len(self.over)} done before' if self.over else ''
        self.say(f'{len(self.runs)} to run{before}; {jobs} at a time')
        self.bars.start()
        self.tasks['all'] = self.bars.add_task('', total=len(self.runs))

    def started(self, run: Run) -> None:
        """Show that a run begins or goes on."""
        self._note(run)
        self.epoch_began[run.id] = time.monotonic()
        reached = self.reached.get(run.id, 0)
        self.say(f'{run.id}   {f"goes on after epoch {reached}" if reached else "begins"}')
        self.tasks[run.id] = self.bars.add_task(run.id, total=run.epochs, completed=reached)

    def epoch(self, run: Run, record: dict) -> None:
        """Show the result of an epoch."""
        self._note(run)
        self.epoch_began[run.id] = time.monotonic()
        top1 = record['metrics'].get('accuracy/top1')
        accuracy = '' if top1 is None else f'   top-1 {top1:6.2f} %'
        epoch = f'epoch {record["epoch"]}/{run.epochs}{accuracy}   {record["seconds"]:.0f} s'
        self.say(f'{run.id}   {epoch}   | {self.outlook()}')

    def ended(self, run: Run, code: Optional[int] = None, output: Sequence[str] = ()) -> None:
        """Show that a run is complete, or failed: its exit status and the end of its log."""
        self.over.add(run.id)
        self.bars.remove_task(self.tasks.pop(run.id))
        self.failures += code is not None
        failed = f'FAILED (exit status {code}); the end of its output.log:'
        self.say(f'{run.id}   {f"done   | {self.outlook()}" if code is None else failed}')
        for line in output:
            self.console.print(f'    {line}', soft_wrap=True)

    def stopped(self, run: Run) -> None:
        """Show that a run ended unfinished at the deadline."""
        self.say(f'{run.id}   stops after epoch {self.reached[run.id]}, for the deadline')

    def tick(self) -> None:
        """Renew the bars."""
        for name, task in self.tasks.items():
            done = len(self.over) if name == 'all' else self.reached.get(name, 0)
            self.bars.update(task, completed=done)
        since = f'{duration(time.monotonic() - self.since)} since the start'
        self.bars.update(self.tasks['all'], description=f'{since}, {self.outlook()}')

    def end(self) -> None:
        """Take the bars away."""
        self.bars.stop()

    def outlook(self) -> str:
        """Return how many runs are over, and the time left."""
        left = self.time_left()
        words = 'time left not known yet' if left is None else f'{duration(left)} left'
        failed = f', {self.failures} failed' if self.failures else ''
        return f'{len(self.over) - self.failures} of {len(self.runs)} runs{failed}, {words}'

    def time_left(self) -> Optional[float]:
        """Return seconds, from the epochs that are known: a run's own, or the mean of all."""
        todo = [run for run in self.runs if run.id not in self.over]
        if not todo or not self.seconds:
            return None if todo else 0.0
        left, now = [], time.monotonic()
        for run in todo:
            mean = sum(self.seconds.values()) / len(self.seconds)
            seconds = self.seconds.get(run.id, mean)
            spent = min(now - self.epoch_began.get(run.id, now), seconds)
            left.append(max(0.0, (run.epochs - self.reached.get(run.id, 0)) * seconds - spent))
        return max(sum(left) / min(self.jobs, len(left)), max(left))

    def say(self, text: str) -> None:
        """Write a line, with the time of the day."""
        self.console.print(f'{time.strftime("%H:%M:%S")}  {text}', soft_wrap=True)

    def _note(self, run: Run) -> None:
        records = run.records()
        self.reached[run.id] = len(records)
        if records:
            self.seconds[run.id] = sum(r['seconds'] for r in records) / len(records)


def duration(seconds: float) -> str:
    """Return seconds in words: 40 s, 12 min, 3 h 5 min, 2 d 4 h."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 24:
        return f'{hours // 24} d {hours % 24} h'
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'
