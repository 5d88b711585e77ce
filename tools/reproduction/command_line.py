"""The command line of ``tools/reproduce.py``."""

import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import torch
from mmengine.logging import MMLogger

from lakd_mm.engine import ConfigError, OptionsAction
from lakd_mm.engine.command_line import public_path

from .collect import unfinished
from .execution import execute
from .figures import make_figures
from .lock import locked
from .plan import METHODS, PAIRS, TARGETS, Budget, Target, find_target, select
from .planner import Settings, plan_runs
from .progress import Progress
from .readme import update
from .report import write_report
from .run_config import DATA
from .runs import Run


def parse_args(arguments: Optional[Sequence[str]] = None, doc: Optional[str] = None) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(description=doc)
    parser.add_argument('target', metavar='TARGET', help=f'one of {", ".join(TARGETS)}')
    parser.add_argument(
        '--methods', nargs='+', help=f'of a table: {", ".join(METHODS)}, teacher; of an ablation: '
        'its rows (a wrong name lists them); default: all'
    )  # fmt: skip
    parser.add_argument('--pairs', nargs='+', help=f'{", ".join(PAIRS)}; default: all')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='default: 0')
    parser.add_argument('--epochs', type=int, help='instead of the recipe’s: a short run')
    parser.add_argument(
        '--fraction', type=float, help='share of the training images of each class, as 0.1'
    )
    parser.add_argument(
        '--recipe',
        choices=['300e', '240e'],
        default='300e',
        help='LAKD’s (default) or the literature’s; on ImageNet, 100 epochs linear or in steps',
    )
    parser.add_argument(
        '--data', choices=DATA, default='pickles', help='how the data lie (default: pickles)'
    )
    parser.add_argument(
        '--teacher-ckpt',
        nargs='+',
        default=[],
        metavar='[PAIR_DATASET=]PATH',
        help='teachers on disk: a file, or a folder with files of the names in the configs',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionsAction, default={}, metavar='KEY=VALUE'
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time (default: 1)')
    parser.add_argument('--threads', type=int, help='of each; default: the cores, divided')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    parser.add_argument(
        '--out', type=Path, default=Path('docs/results'), help='folder of the reports (%(default)s)'
    )
    parser.add_argument('--report-only', action='store_true', help='run nothing; write the report')
    parser.add_argument(
        '--readme',
        type=Path,
        nargs='?',
        const=Path('README.md'),
        help='also fill the results into this file, between its markers (README.md)',
    )
    parser.add_argument(
        '--replace', action='store_true', help='report only what the work folder has'
    )
    parser.add_argument('--redo', action='store_true', help='move earlier runs aside, begin anew')
    parser.add_argument('--dry-run', action='store_true', help='check and list the runs only')
    args = parser.parse_args(arguments)
    for name, least in (('epochs', 1), ('jobs', 1), ('threads', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'--{name} {value}: give a whole number of at least {least}')
    if args.fraction is not None and not 0 < args.fraction <= 1:
        parser.error(f'--fraction {args.fraction}: give a number above 0 and at most 1')
    return args


def make_budget(args: Namespace) -> Budget:
    """The budget that the options describe."""
    return Budget(
        recipe=args.recipe,
        epochs=args.epochs,
        fraction=None if args.fraction == 1 else args.fraction,
        options=tuple(sorted(args.cfg_options.items())),
    )


def make_settings(args: Namespace, root: Path) -> Settings:
    """Places and teachers that the options describe."""
    return Settings(
        root=root,
        work_dir=args.work_dir,
        data=args.data,
        teachers=tuple(split_teacher(text) for text in args.teacher_ckpt),
        command=public_command(sys.argv[1:]),
    )


def split_teacher(text: str) -> tuple[str, str]:
    """Splits ``NAME=PATH``; the name is empty for a path alone."""
    name, equals, path = text.partition('=')
    return (name, path) if equals and '/' not in name else ('', text)


def public_command(arguments: Sequence[str]) -> str:
    """The call as it can be shown to others: without the folders of this machine."""
    shown = []
    for argument in arguments:
        name, equals, value = argument.rpartition('=')
        shown.append(f'{name}{equals}{public_path(value)}')
    return shlex.join(['python', 'tools/reproduce.py', *shown])


def run(args: Namespace, root: Path) -> int:
    """Does what the options say; returns the exit status.

    Raises:
        ConfigError: If an option is wrong, something is missing, or the user stops it.
    """
    try:
        return _run(args, root)
    except KeyboardInterrupt:
        raise ConfigError('stopped; the same command goes on where it was.') from None


def _run(args: Namespace, root: Path) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: terminated'))
    # Of what MMEngine tells while configs are read and networks built, only warnings.
    MMLogger.get_instance('reproduce', log_level='WARNING')
    target = find_target(args.target)
    failed = []
    if not args.report_only:
        runs = plan_runs(
            select(target, args.methods, args.pairs),
            make_budget(args),
            list(dict.fromkeys(args.seeds)),
            make_settings(args, root),
        )
        if args.dry_run:
            for one in runs:
                state = 'done' if one.result() else f'{len(one.records())} of {one.epochs} epochs'
                print(f'{one.id}   {state}')
            return 0
        failed = run_all(target, runs, args)
    for line in unfinished(target, args.work_dir):
        print(f'unfinished: {line}')
    for path in write_report(target, args.work_dir, args.out, args.replace):
        print(f'-> {path}')
    if args.readme:
        update(args.readme, args.out)
        print(f'-> {args.readme}')
    return 1 if failed else 0


def run_all(target: Target, runs: list[Run], args: Namespace) -> list[Run]:
    """Runs what is missing, and draws; returns the runs that failed.

    Raises:
        ConfigError: If the work folder is in use.
    """
    with locked(args.work_dir) as lock:
        for one in runs:
            if args.redo:
                one.set_aside()
            elif one.changed():
                print(
                    f'note: {one.id}: its config has changed since it was begun; it keeps its own. '
                    '--redo begins it anew.'
                )
        failed = execute(runs, Progress(), args.jobs, args.threads, torch.cuda.device_count(), lock)
        make_figures(target, runs, args.work_dir, args.out)
    return failed
