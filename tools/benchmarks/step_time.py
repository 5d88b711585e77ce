"""Measure the time of one training step: from scratch, other distillation, and LAKD.

The rows take turns, so that other work on the machine slows all of them equally. Results are
medians.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from common import COMPARISONS, Training, in_precisions, report  # noqa: I001  (it imports lakd_mm first)

from lakd_mm.engine.command_line import at_least


def timed(training: Training) -> float:
    """Measure the seconds of a step."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    training.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(trainings: dict[str, Training], rounds: int) -> dict[str, list[float]]:
    """Measure the seconds of steps that take turns, behind one step that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for training in trainings.values():
        training.step()
    for _ in range(rounds):
        for name, training in trainings.items():
            seconds[name].append(timed(training))
    return seconds


def main():
    """Time every row of a pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pair', choices=COMPARISONS, default='r56_r20')
    parser.add_argument('--batch-size', type=at_least(1), default=64)
    parser.add_argument('--rounds', type=at_least(1), default=15)
    parser.add_argument('--rows', nargs='+', help='only these, by name')
    parser.add_argument('--compile', action='store_true', help='also compiled LAKD (minutes)')
    parser.add_argument('--amp', choices=['bf16'], help='also each row in mixed precision')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument('--trace', type=Path, help="folder for a profiler's trace of each row")
    args = parser.parse_args()
    pair = COMPARISONS[args.pair]
    if args.compile:
        name, (config, options) = list(pair['rows'].items())[-1]
        pair['rows'][f'{name}, compiled'] = (config, {**options, 'model.compile': {}})
        if args.rows and f'{name}, compiled' not in args.rows:
            parser.error(f'--compile would be ignored: add {name + ", compiled"!r} to --rows')
    unknown = set(args.rows or ()) - set(pair['rows'])
    if unknown:
        parser.error(f'no rows {sorted(unknown)}; there are {list(pair["rows"])}')
    chosen = {
        name: row for name, row in pair['rows'].items() if name in (args.rows or pair['rows'])
    }
    chosen = in_precisions(chosen, args.amp)
    trainings = {
        name: Training(config, options, args.batch_size, pair['size'])
        for name, (config, options) in chosen.items()
    }
    seconds = measure(trainings, args.rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians))
    rows = [
        {
            'training': name,
            'ms / step': round(1000 * median, 1),
            f'/ {first}': round(median / medians[first], 2),
            'fastest ms': round(1000 * min(seconds[name]), 1),
        }
        for name, median in medians.items()
    ]
    report(
        f'Time of a step, {args.pair}',
        rows,
        args.out,
        batch=args.batch_size,
        rounds=args.rounds,
        data='noise in memory, not loaded',
    )
    if args.trace:
        args.trace.mkdir(parents=True, exist_ok=True)
        for name, training in trainings.items():
            with torch.profiler.profile() as profiler:
                training.step()
            file = args.trace / f'{name.replace(" ", "_").replace(",", "-")}.json'
            profiler.export_chrome_trace(str(file))
            print(f'-> {file}')


if __name__ == '__main__':
    main()
