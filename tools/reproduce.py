"""Reproduces a table or a figure of the LAKD paper: its runs, and a report of them.

Called again it goes on where it was stopped, and skips what is done.
"""

import math
import os
import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

# Before torch: threads that wait by spinning are 10 times slower where cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import torch
from mmengine.logging import MMLogger

from lakd_mm.engine import OptionsAction, clear_errors
from lakd_mm.engine.command_line import at_least, public_path, refuse_ignored_options
from lakd_mm.engine.work_folder import refuse_file
from lakd_mm.errors import ConfigError
from reproduction.cohorts import form_cohorts
from reproduction.execution import execute, locked
from reproduction.planner import Settings, plan_runs
from reproduction.progress import Progress
from reproduction.report import make_figures, update, write_report
from reproduction.results import unfinished
from reproduction.run_config import LAYOUTS
from reproduction.runs import Run
from reproduction.targets import PAIRS, TARGETS, Budget, Target, find_target, select

ROOT = Path(__file__).resolve().parents[1]


def parse_args(arguments: Optional[Sequence[str]] = None) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(description=__doc__)
    option = parser.add_argument
    option('target', metavar='TARGET', help=f'one of {", ".join(TARGETS)}')
    methods = ', '.join(TARGETS['table1'].rows[1:])
    rows = f'of a table: {methods}, teacher; of an ablation: its rows (a wrong name lists them)'
    option('--methods', nargs='+', help=f'{rows}; default: all')
    option('--pairs', nargs='+', help=f'{", ".join(PAIRS)}; default: all')
    option('--seeds', nargs='+', type=at_least(0), default=[0], help='default: 0')
    option('--epochs', type=at_least(1), help='instead of the recipe’s: a short run')
    images = 'share of the training images of each class, as 0.1'
    option('--fraction', type=float, help=images)
    every = 'epochs from one validation and checkpoint to the next; the last has both (default: 1)'
    option('--val-interval', type=at_least(1), default=1, metavar='N', help=every)
    others = 'share of the training images of each class to measure on, in place of the test images'
    option('--held-out', type=float, metavar='SHARE', help=others)
    recipes = 'LAKD’s (default) or the literature’s; on ImageNet, 100 epochs linear or in steps'
    option('--recipe', choices=['300e', '240e'], default='300e', help=recipes)
    layouts = 'how the data lie (default: %(default)s)'
    option('--data', choices=LAYOUTS, default=next(iter(LAYOUTS)), help=layouts)
    paths = 'teachers on disk: a file, or a folder with files of the names in the configs'
    option('--teacher-ckpt', nargs='+', default=[], metavar='[PAIR_DATASET=]PATH', help=paths)
    option('--cfg-options', nargs='+', action=OptionsAction, default={}, metavar='KEY=VALUE')
    option('--jobs', type=at_least(1), default=1, help='runs at a time (default: 1)')
    option('--threads', type=at_least(1), help='of each; default: the cores, divided')
    cohort = 'train the runs of one pair and recipe side by side, with one pass of their teacher'
    option('--cohort', action='store_true', help=cohort)
    seconds = 'stop then, each run behind its last checkpoint; the same command goes on'
    option('--deadline', type=float, default=math.inf, metavar='SECONDS', help=seconds)
    option('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    reports = 'folder of the reports (%(default)s)'
    option('--out', type=Path, default=Path('docs/results'), help=reports)
    option('--report-only', action='store_true', help='run nothing; write the report')
    markers = 'also fill the results into this file, between its markers (README.md)'
    option('--readme', type=Path, nargs='?', const=Path('README.md'), help=markers)
    option('--replace', action='store_true', help='report only what the work folder has')
    option('--redo', action='store_true', help='move earlier runs aside, begin anew')
    option('--dry-run', action='store_true', help='check and list the runs only')
    args = parser.parse_args(arguments)
    if not args.deadline > 0:
        parser.error(f'--deadline {args.deadline}: give a positive number of seconds')
    if args.fraction is not None and not 0 < args.fraction <= 1:
        parser.error(f'--fraction {args.fraction}: give a number above 0 and at most 1')
    of_runs, of_reports = (
        ['jobs', 'threads', 'redo', 'deadline', 'cohort', 'val_interval'],
        ['out', 'readme', 'replace'],
    )
    if args.dry_run:
        useless = [*of_runs, *of_reports, 'report_only']
        refuse_ignored_options(parser, args, useless, 'with --dry-run, which runs nothing')
    elif args.report_only:
        refuse_ignored_options(parser, args, of_runs, 'with --report-only, which runs nothing')
    return args


def split_teacher(text: str) -> tuple[str, str]:
    """Split ``NAME=PATH``; the name is empty for a path alone."""
    name, equals, path = text.partition('=')
    named = equals and '/' not in name and not os.path.exists(text)
    return (name, os.path.expanduser(path)) if named else ('', text)


def public_command(arguments: Sequence[str]) -> str:
    """Return the call as it can be shown to others: without the folders of this machine."""
    words = [argument.rpartition('=') for argument in arguments]
    shown = [f'{name}{equals}{public_path(value)}' for name, equals, value in words]
    return shlex.join(['python', 'tools/reproduce.py', *shown])


def plan(args: Namespace, target: Target) -> list[Run]:
    """Return the runs that the options describe, checked."""
    fraction = None if args.fraction == 1 else args.fraction
    options = tuple(sorted(args.cfg_options.items()))
    budget = Budget(args.recipe, args.epochs, fraction, options, args.held_out)
    teachers = tuple(split_teacher(text) for text in args.teacher_ckpt)
    command = public_command(sys.argv[1:])
    settings = Settings(ROOT, args.work_dir, args.data, teachers, command, args.val_interval)
    cells = select(target, args.methods, args.pairs)
    if args.held_out is not None:
        others = [cell.row for cell in cells if cell.kind != 'train']
        if others and (args.methods or len(others) == len(cells)):
            raise ConfigError(f'--held-out: {others[0]} is no training, so nothing can be held out')
        cells = [cell for cell in cells if cell.kind == 'train']
    return plan_runs(cells, budget, list(dict.fromkeys(args.seeds)), settings)


def run_all(target: Target, runs: list[Run], args: Namespace) -> list[Run]:
    """Run what is missing, and draw; return the runs that failed."""
    with locked(args.work_dir) as lock:
        for one in runs:
            if args.redo:
                one.set_aside()
            elif one.changed():
                kept = 'its config has changed since it was begun; it keeps its own'
                print(f'note: {one.id}: {kept}. --redo begins it anew.')
        places = dict(jobs=args.jobs, threads=args.threads, devices=torch.cuda.device_count())
        processes = form_cohorts(runs) if args.cohort else runs
        failed = execute(processes, Progress(), **places, lock=lock, seconds=args.deadline)
        make_figures(target, runs, args.work_dir, args.out)
    return failed


def run(args: Namespace) -> int:
    """Run what is missing, then report; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: terminated'))
    # Of what MMEngine tells while configs are read and networks built, only warnings.
    MMLogger.get_instance('reproduce', log_level='WARNING')
    target, failed = find_target(args.target), []
    refuse_file(args.work_dir)
    refuse_file(args.out, '--out')
    runs = [] if args.report_only else plan(args, target)
    if args.dry_run:
        for one in runs:
            state = 'done' if one.result() else f'{len(one.records())} of {one.epochs} epochs'
            print(f'{one.id}   {state}')
        return 0
    if runs:
        failed = run_all(target, runs, args)
    for line in unfinished(target, args.work_dir):
        print(f'unfinished: {line}')
    for path in write_report(target, args.work_dir, args.out, args.replace):
        print(f'-> {path}')
    if args.readme:
        update(args.readme, args.out)
        print(f'-> {args.readme}')
    return 1 if failed else 0


def main() -> int:
    """Do what the options say."""
    args = parse_args()
    with clear_errors():
        try:
            return run(args)
        except KeyboardInterrupt:
            raise ConfigError('stopped; the same command goes on where it was.') from None


if __name__ == '__main__':
    sys.exit(main())
