"""The command line of ``lakd-mm``."""

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Optional

from tabulate import tabulate

from . import catalog, doctor

# Tools that start from here too, with their own options.
TOOLS = {
    'new': ('new_config.py', "write a config for one's own images and any networks"),
    'train': ('train.py', 'train the model of a config'),
    'test': ('test.py', 'test a checkpoint'),
    'tune': ('tune.py', 'search weights, or any other key of a config'),
    'cohort': ('train_cohort.py', 'train several students behind one teacher'),
    'export': ('model_converters/export_student.py', 'write the student as a plain classifier'),
}
SHELLS = ('bash', 'zsh', 'tcsh')


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; the tools of ``TOOLS`` are in it for ``--help`` and completion."""
    parser = argparse.ArgumentParser(
        'lakd-mm',
        description='Knowledge distillation for OpenMMLab.',
        epilog=f'{", ".join(TOOLS)} have options of their own: lakd-mm train --help',
    )
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    listing = commands.add_parser('list', help='list methods, pairs or configs')
    listing.add_argument('what', choices=['methods', 'pairs', 'configs'])
    for name, example in (('data', 'cifar100'), ('method', 'lakd'), ('pair', 'r56_r20')):
        listing.add_argument(f'--{name}', metavar='NAME', help=f'only those of it, as {example}')
    commands.add_parser('doctor', help='what is installed, repaired, computed on, and absent')
    shell = commands.add_parser('completion', help='print a script that completes this command')
    shell.add_argument('shell', choices=SHELLS)
    for name, (_, text) in TOOLS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def show(rows: Sequence[dict]) -> None:
    """Print a table."""
    print(tabulate(rows, headers='keys', tablefmt='plain', disable_numparse=True))


def list_configs(args: argparse.Namespace) -> str:
    """Print what there is of ``args.what``; return what is wrong, or nothing."""
    everything = catalog.read_configs()
    for key in ('data', 'method', 'pair'):
        given, known = getattr(args, key), sorted({getattr(e, key) for e in everything} - {''})
        if given and given not in known:
            near = difflib.get_close_matches(given, known, n=3, cutoff=0.5) or known
            return f'--{key} {given}: there are no configs of it; there are {", ".join(near)}'
    entries = catalog.choose(everything, args.data, args.method, args.pair)
    if args.what == 'methods':
        rows = catalog.method_rows(entries, catalog.read_methods())
    elif args.what == 'pairs':
        rows = catalog.pair_rows(entries)
    else:
        rows = catalog.config_rows(entries)
    if not rows:
        return f'no {args.what} are of all of these; leave one of the options out'
    show(rows)
    if args.what == 'configs':
        print(f'\n{len(rows)} configs. Train one: lakd-mm train lakd_mm::CONFIG')
    return ''


def report_health() -> int:
    """Print what :mod:`.doctor` finds; return the exit status."""
    print(doctor.interpreter_line(), end='\n\n')
    requirements = doctor.requirement_rows()
    show(requirements)
    package, problem = doctor.import_package()
    if package is None:
        print(f'\nimport lakd_mm fails. {problem}')
        return 1
    print(f'\nlakd_mm {package.__version__} in {os.path.dirname(package.__file__)}')
    print('\n'.join(doctor.device_lines()))
    optional = doctor.optional_rows()
    if optional:
        print('\nOptional, each by an extra: pip install "lakd_mm[EXTRA]"')
        show(optional)
    print('\nRepaired by the import, where upstream is not healthy:')
    show(doctor.repair_rows())
    return int(any(row['fits'] == 'NO' for row in requirements))


def print_completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Print the script of a shell; return what is wrong, or nothing."""
    try:
        import shtab
    except ImportError:
        return 'completion needs shtab: pip install "lakd_mm[completion]", or pip install shtab'
    print(shtab.complete(parser, shell))
    return ''


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run a command; the exit status is 2 for a wrong call, 1 for what ``doctor`` finds wrong."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments and arguments[0] in TOOLS:
        tool = catalog.files_folder('tools') / TOOLS[arguments[0]][0]
        os.execv(sys.executable, [sys.executable, str(tool), *arguments[1:]])
    parser = make_parser()
    args = parser.parse_args(arguments)
    problem = ''
    if args.command == 'list':
        problem = list_configs(args)
    elif args.command == 'completion':
        problem = print_completion(parser, args.shell)
    else:
        sys.exit(report_health())
    if problem:
        parser.error(problem)


def script() -> None:
    """Run ``lakd-mm``, which ends in silence when whoever reads its output has enough."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
