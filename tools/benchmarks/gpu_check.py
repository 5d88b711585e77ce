"""Check on a GPU what no CPU shows: results, hidden waiting, bfloat16, step times, memory.

It needs no data (images are noise) and no network. Rows are printed and written as they come, the
most telling first; what the deadline leaves no time for is listed. A step in a CUDA graph has no
row, for there is none yet.

gradients: of one step in float32 (TF32 off) against the CPU, or with --device cpu against the other
memory format: the largest difference of a loss, relative to it; that of all gradients, relative to
their norm; and the largest of a parameter's, relative to its norm and 1 % of that of all.
waiting: places where a step waits for the GPU.
steps: times of a step, in turns.
bf16: the loss against that in float32.
memory: the peaks of the LAKD paper's Table 4.
"""

import argparse
import gc
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

START = time.monotonic()

import torch  # noqa: E402
from common import (  # noqa: E402, I001  (it imports lakd_mm first)
    BF16,
    CHANNELS_LAST,
    COMPARISONS,
    Training,
    methods,
    report,
    write,
)
from memory import peak_of_step  # noqa: E402
from one_step import LIMITS, compare, fgd_step, in_float32, one_step  # noqa: E402
from step_time import measure  # noqa: E402

from lakd_mm.engine.command_line import at_least  # noqa: E402

FIRST = ('lakd', 'scratch', 'kd', 'cat_kd')
TIMED = (
    'from scratch',
    'KD',
    'KD, MMRazor as released',
    'CAT-KD',
    'CanKD',
    'LAKD local [1,4,9]',
)
BF16_LIMIT = 0.05  # bfloat16 has 8 bits
GUESS = 10.0  # seconds of the first row of a check
CHECKS = ('gradients', 'waiting', 'steps', 'bf16', 'memory')
OF_METHODS = ('gradients', 'waiting', 'bf16')
Found = tuple[dict, bool]  # values, and whether they are within the limits


def telling_first() -> dict[str, str]:
    """Return a config of each method, the most telling first."""
    paths = methods()
    return {name: paths[name] for name in (*FIRST, *paths)}


class Checks:
    """The checks, on one device.

    Args:
        device (str): 'cuda' or 'cpu'.
        batch_size (int, optional): Of all checks; the defaults are 8, 64 for times and 1024 for
            memory.
        rounds (int): Steps of each training that are timed.
    """

    def __init__(self, device: str, batch_size: Optional[int], rounds: int):
        self.device = device
        self.batch_size = batch_size
        self.rounds = rounds
        self.scratch_memory: dict[str, int] = {}

    def training(self, config: str, options: dict, batch_size: int = 8) -> Training:
        """Build a training on the device."""
        return Training(config, options, self.batch_size or batch_size, 32, self.device)

    def gradients(self, config: Optional[str]) -> Found:
        """Compare with the CPU, or on it with the other memory format."""
        with in_float32():
            if config is None:
                other = torch.channels_last if self.device == 'cpu' else torch.contiguous_format
                steps = fgd_step('cpu', torch.contiguous_format), fgd_step(self.device, other)
                return compare(*steps)
            options = {}
            if self.device == 'cpu':
                scratch = config.startswith('teachers')
                options = CHANNELS_LAST if scratch else {'model.channels_last': False}
            here = Training(config, {}, self.batch_size or 8, 32, 'cpu')
            return compare(one_step(here), one_step(self.training(config, options)))

    def waiting(self, config: str) -> Found:
        """Find where a step waits for the GPU."""
        training = self.training(config, {})
        for _ in range(3):
            training.step()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                training.step()
        finally:
            torch.cuda.set_sync_debug_mode('default')
        places = [
            f'{Path(warning.filename).name}:{warning.lineno}'
            for warning in caught
            if 'called a synchronizing' in str(warning.message)
        ]
        return dict(times=len(places), places=' '.join(sorted(set(places)))), not places

    def bf16(self, config: str) -> Found:
        """Compare the loss in bfloat16 with that in float32."""
        (expected, _), (found, gradients) = (
            one_step(self.training(config, options)) for options in ({}, BF16)
        )
        difference = abs(found['loss'] - expected['loss']) / abs(expected['loss'])
        finite = all(gradient.isfinite().all() for gradient in gradients)
        return dict(loss=difference), finite and difference <= BF16_LIMIT

    def steps(self) -> Iterator[tuple[str, dict]]:
        """Time steps in float32 (TF32 where it is on by default) and bfloat16, in turns."""
        trainings = {}
        for name in TIMED:
            config, options = COMPARISONS['r56_r20']['rows'][name]
            for suffix, amp in (('', {}), (', bf16', BF16)):
                trainings[name + suffix] = self.training(config, {**options, **amp}, 64)
        seconds = measure(trainings, self.rounds)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        for name, median in medians.items():
            yield name, {'ms': 1000 * median, '/ from scratch': median / medians['from scratch']}

    def memory(self, row: str) -> Found:
        """Measure the peak of a step of a row of Table 4."""
        peaks = peak_of_step(self.training(*COMPARISONS['r56_r20']['rows'][row], 1024))
        self.scratch_memory = self.scratch_memory or peaks
        values: dict[str, float] = {}
        for kind, peak in peaks.items():
            values[f'{kind} GiB'] = peak / 2**30
            values['/ from scratch'] = peak / self.scratch_memory[kind]
        return values, True


def plan(chosen: dict[str, str], checks: list[str]) -> Iterator[tuple[str, str, Optional[str]]]:
    """Yield check, row and config, in the order of their worth."""
    first = {name: path for name, path in chosen.items() if name in FIRST}
    rest = {name: path for name, path in chosen.items() if name not in FIRST}
    order: list[tuple[str, dict]] = [('gradients', first), ('waiting', first)]
    order += [('steps', {'r56_r20': None}), ('bf16', first)]
    order += [('gradients', {**rest, 'fgd, its loss alone': None})]
    order += [('memory', {name: None for name in COMPARISONS['r56_r20']['rows']})]
    order += [('waiting', rest), ('bf16', rest)]
    for check, rows in order:
        if check in checks:
            yield from ((check, row, path) for row, path in rows.items())


def run(checks: Checks, check: str, row: str, config: Optional[str]) -> Iterator[dict]:
    """Run one check, and yield its rows."""
    if check == 'waiting' and checks.device == 'cpu':
        yield dict(check=check, row=row, verdict='skipped: needs a GPU', values={})
        return
    try:
        if check == 'steps':
            for name, values in checks.steps():
                yield dict(check=check, row=name, verdict='', values=values)
            return
        values, ok = getattr(checks, check)(row if check == 'memory' else config)
        verdict = ('' if check == 'memory' else 'ok') if ok else 'FAILED'
    except Exception as error:  # the other rows are worth having
        text = (str(error) or type(error).__name__).splitlines()[0]
        values, verdict = dict(error=text[:150]), 'FAILED'
    yield dict(check=check, row=row, verdict=verdict, values=values)


def shown(row: dict) -> dict:
    """Return a row for the table."""
    values = (
        f'{key} {value:.3g}' if isinstance(value, float) else f'{key} {value}'
        for key, value in row['values'].items()
    )
    return dict(check=row['check'], row=row['row'], found=', '.join(values), verdict=row['verdict'])


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--deadline', type=float, default=150, help='seconds, from the start')
    parser.add_argument('--checks', nargs='+', choices=CHECKS, default=CHECKS)
    parser.add_argument('--methods', nargs='+', choices=telling_first(), help='default: all')
    parser.add_argument('--batch-size', type=at_least(1), help='default: 8; times 64, memory 1024')
    parser.add_argument('--rounds', type=at_least(1), help='of the times, default: 30')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    if args.methods and not set(args.checks) & set(OF_METHODS):
        parser.error(f'--methods would be ignored with --checks {" ".join(args.checks)}')
    if args.rounds is not None and 'steps' not in args.checks:
        parser.error('--rounds would be ignored without the check steps')
    if args.deadline <= 0:
        parser.error(f'--deadline {args.deadline:g}: give a positive number of seconds')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('there is no GPU; --device cpu runs what needs none')
    if args.device == 'cpu' and torch.cuda.is_available():
        parser.error('--device cpu: hide the GPU with CUDA_VISIBLE_DEVICES=')
    return args


def main() -> int:
    """Run the checks until the deadline."""
    args = parse_args()
    chosen = {k: v for k, v in telling_first().items() if not args.methods or k in args.methods}
    checks = Checks(args.device, args.batch_size, args.rounds or 30)
    settings = dict(
        deadline=args.deadline,
        batch=args.batch_size or '8, 64, 1024',
        limits=dict(LIMITS, bf16=BF16_LIMIT),
    )
    title = f'Checks on {args.device}'
    rows: list[dict] = []
    longest: dict[str, float] = {}
    for check, row, config in plan(chosen, args.checks):
        begun = time.monotonic()
        if begun - START + longest.get(check, GUESS) > args.deadline:
            rows.append(dict(check=check, row=row, verdict='skipped: deadline', values={}))
            continue
        for found in run(checks, check, row, config):
            rows.append(found)
            print(shown(found), flush=True)
        gc.collect()
        if args.device == 'cuda':
            torch.cuda.empty_cache()
        longest[check] = max(longest.get(check, 0), time.monotonic() - begun)
        write(title, rows, args.out, **settings, seconds=round(time.monotonic() - START, 1))
    settings['seconds'] = round(time.monotonic() - START, 1)
    write(title, rows, args.out, **settings)
    report(title, [shown(row) for row in rows], None, **settings)
    return int(any(row['verdict'] == 'FAILED' for row in rows))


if __name__ == '__main__':
    sys.exit(main())
