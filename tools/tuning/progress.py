"""Status lines of a search; on a terminal, bars of what trains below them."""

import time
from collections.abc import Mapping
from typing import Any, Optional, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from reproduction.progress import duration

from .trials import Outcome


class Progress:
    """Writes how trials end; what they train is a bar on a terminal, else a line an epoch.

    Args:
        total (int): Trials of the study.
        epochs (int): Of each.
        stream (TextIO, optional): Where to. Defaults to the standard output.
    """

    def __init__(self, total: int, epochs: int, stream: Optional[TextIO] = None):
        self.total, self.epochs = total, epochs
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            MofNCompleteColumn(),
        )
        off = not self.console.is_terminal
        self.bars = Bars(*columns, console=self.console, transient=True, disable=off)
        self.tasks: dict[int, Any] = {}
        self.ended, self.since = 0, time.monotonic()

    def __enter__(self) -> 'Progress':
        self.bars.start()
        return self

    def __exit__(self, *error) -> None:
        self.bars.stop()

    def begin(self, params: Mapping[int, Mapping[str, Any]]) -> None:
        """Show trials that begin, by number, with their parameters."""
        for number, values in params.items():
            self.say(f'trial {number}   begins: {shown(values)}')
            self.tasks[number] = self.bars.add_task(f'trial {number}', total=self.epochs)

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """Show the value of an epoch."""
        text = f'trial {number}   epoch {epoch}/{self.epochs}   {value:.4g}'
        self.bars.update(self.tasks[number], completed=epoch, description=text)
        if not self.console.is_terminal:
            self.say(text)

    def end(self, number: int, outcome: Outcome, best: Optional[Any], done: int) -> None:
        """Show how a trial ended, and how far the search is."""
        self.bars.remove_task(self.tasks.pop(number))
        self.ended += 1
        left = (time.monotonic() - self.since) / self.ended * max(0, self.total - done)
        words = {'complete': 'done', 'pruned': f'stopped after epoch {outcome.epoch}'}
        text = words.get(outcome.how, 'its loss is not finite')
        value = '' if outcome.value is None else f', {outcome.value:.4g}'
        leader = '' if best is None else f'best {best.value:.4g} (trial {best.number}), '
        self.say(
            f'trial {number}   {text}{value}   | {leader}{done} of {self.total} trials, '
            f'{duration(left)} left'
        )

    def forget(self) -> None:
        """Take the bars of trials away that failed."""
        for task in self.tasks.values():
            self.bars.remove_task(task)
        self.tasks.clear()

    def say(self, text: str) -> None:
        """Write a line, with the time of the day."""
        self.console.print(f'{time.strftime("%H:%M:%S")}  {text}', soft_wrap=True)


def shown(values: Mapping[str, Any]) -> str:
    """Return parameters in short."""
    return ', '.join(
        f'{key.rpartition(".")[2]}={value:.4g}'
        if isinstance(value, float)
        else f'{key.rpartition(".")[2]}={value}'
        for key, value in values.items()
    )
