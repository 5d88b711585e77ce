"""Measure what MMEngine's log costs early and late in a training: time, and size in a checkpoint.

It logs the nine scalars of LAKD in every iteration and reads their means for a line of the log in
every 50th. MMEngine as released takes turns with ours; the arrays that it has by then are filled at
once, since appending 200,000 values to each would take it half an hour.
"""

import argparse
import importlib.util
import io
import statistics
import sys
import time
from functools import cache
from pathlib import Path

import torch
from common import report  # noqa: I001  (it imports lakd_mm first)
from mmengine.logging import MessageHub, history_buffer

from lakd_mm.engine.command_line import at_least

SCALARS = [f'train/scalar{i}' for i in range(9)]
EPOCH = 782  # CIFAR at batch 64
LINE = 50


@cache
def as_released() -> type:
    """Return MMEngine's HistoryBuffer without the repair of lakd_mm.compat."""
    name = 'history_buffer_as_released'
    spec = importlib.util.spec_from_file_location(name, history_buffer.__file__)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # for pickle
    spec.loader.exec_module(module)
    return module.HistoryBuffer


class Log:
    """A log behind a number of iterations."""

    def __init__(self, iterations: int, released: bool):
        self.hub = MessageHub(f'{released} {iterations}')
        # What RuntimeInfoHook sets when a training of such epochs starts.
        self.hub.history_length = EPOCH
        self.update = self.hub.update_scalar
        self.done = 0
        if released:
            self.update = MessageHub.update_scalar.__wrapped__.__get__(self.hub)
            kind, values = as_released(), torch.zeros(iterations, dtype=torch.float64).numpy()
            for name in SCALARS:
                self.hub.update_scalar(name, 0.0)  # as a scalar that checkpoints hold
                self.hub.log_scalars[name] = kind(values, values + 1)
        else:
            self.run(iterations)

    def run(self, iterations: int) -> float:
        """Log iterations; return the seconds that they take."""
        loss = torch.tensor(0.5)
        begun = time.perf_counter()
        for _ in range(iterations):
            self.done += 1
            for name in SCALARS:
                self.update(name, loss)
            if self.done % LINE == 0:
                for name in SCALARS:
                    self.hub.get_scalar(name).mean(LINE)
        return time.perf_counter() - begun

    def kilobytes(self) -> float:
        """Return the size of the log in a checkpoint."""
        file = io.BytesIO()
        torch.save(self.hub.state_dict(), file)
        return len(file.getvalue()) / 1000


def main():
    """Time windows of iterations, and weigh the log before them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--iterations', nargs='+', type=at_least(1), default=[100, EPOCH, 200_000])
    parser.add_argument('--window', type=at_least(1), default=LINE, help='iterations a round')
    parser.add_argument('--rounds', type=at_least(1), default=5)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    logs = {
        (kind, done): Log(done, released)
        for done in args.iterations
        for kind, released in (('ours', False), ('MMEngine as released', True))
    }
    sizes = {key: log.kilobytes() for key, log in logs.items()}
    seconds: dict[tuple, list[float]] = {key: [] for key in logs}
    for _ in range(args.rounds):
        for key, log in logs.items():
            seconds[key].append(log.run(args.window) / args.window)
    rows = [
        {
            'log': kind,
            'behind iteration': done,
            'us / iteration': round(1e6 * statistics.median(seconds[kind, done]), 1),
            'kB in a checkpoint': round(sizes[kind, done], 1),
        }
        for kind, done in sorted(logs, reverse=True, key=lambda key: (key[0], -key[1]))
    ]
    report('Cost of the log', rows, args.out, rounds=args.rounds, window=args.window, epoch=EPOCH)


if __name__ == '__main__':
    main()
