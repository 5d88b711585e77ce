"""Measure peak memory of a training step: from scratch, other distillation, LAKD (its Table 4).

On a CPU it counts the bytes of all live tensors that the step makes, from the allocator's own
events, without weights and momentum, which exist before. On a GPU it reads ``max_memory_allocated``
and ``max_memory_reserved``, which count everything.
"""

import argparse
import gc
from pathlib import Path

import torch
from common import COMPARISONS, Training, in_precisions, report  # noqa: I001  (it imports lakd_mm first)
from torch.profiler import ProfilerActivity, profile

from lakd_mm.engine.command_line import at_least


def peak_of_step(training: Training) -> dict[str, int]:
    """Measure the bytes at the peak of a step, after one that fills the optimizer's state."""
    training.step()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        training.step()
        return dict(
            allocated=torch.cuda.max_memory_allocated(), reserved=torch.cuda.max_memory_reserved()
        )
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        training.step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == '[memory]']
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return dict(live=peak)


def main():
    """Measure every row of a pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pair', choices=COMPARISONS, default='r56_r20')
    parser.add_argument('--batch-size', type=at_least(1), help="default: the paper's, 1024 or 128")
    parser.add_argument('--amp', choices=['bf16'], help='also each row in mixed precision')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    pair = COMPARISONS[args.pair]
    batch_size = args.batch_size or pair['batch_size']
    rows, scratch = [], None
    for name, (config, options) in in_precisions(pair['rows'], args.amp).items():
        training = Training(config, options, batch_size, pair['size'])
        peaks = peak_of_step(training)
        del training
        scratch = scratch or peaks
        row = {'training': name}
        for kind, peak in peaks.items():
            row[f'{kind} GiB'] = round(peak / 2**30, 3)
            row[f'{kind} / scratch'] = round(peak / scratch[kind], 3)
        rows.append(row)
        print(row, flush=True)
    report(f'Peak memory of a step, {args.pair}', rows, args.out, batch=str(batch_size))


if __name__ == '__main__':
    main()
