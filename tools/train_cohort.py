"""Train several configs of one teacher and data set side by side, with one pass of the teacher.

Each student equals the one that tools/train.py would train, and leaves in WORK_DIR/NAME what that
would leave.
"""

import argparse
import os
import re

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.config import Config
from mmengine.runner import Runner

from lakd_mm.engine import (
    ConfigError,
    add_guards,
    check_config,
    check_data_folders,
    clear_errors,
    cohort_config,
    load_config,
    rank_of,
    work_folder,
)
from train import add_training_arguments, check_training_arguments, merge_args, merge_resume


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'members',
        nargs='+',
        metavar='[NAME=]CONFIG',
        help="a config and its student's name (default: the config's)",
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[], help='train each config with each of them'
    )
    add_training_arguments(parser)
    args = parser.parse_args()
    check_training_arguments(parser, args)
    if not args.work_dir:
        parser.error('--work-dir: name a folder, which gets one for each student')
    return args


def member_of(text: str) -> tuple[str, str]:
    """Split ``NAME=CONFIG``; a config alone gives a name of letters, digits and _."""
    name, equals, path = text.partition('=')
    if not equals or os.path.exists(text):
        stem = re.sub(r'\W', '_', os.path.splitext(os.path.basename(text))[0], flags=re.ASCII)
        return stem if stem[:1].isalpha() else f'm{stem}', text
    if not name:
        raise ConfigError(f'member {text}: write NAME=CONFIG, or the config alone')
    return name, path


def read_members(args: argparse.Namespace) -> dict[str, Config]:
    """Read the members' configs, by name, with the options of the command line in each.

    Raises:
        ConfigError: If a config or an option is wrong, or two members have one name.
    """
    members: dict[str, Config] = {}
    for text in args.members:
        name, path = member_of(text)
        for seed in args.seeds or [None]:
            member = name if seed is None else f'{name}_seed{seed}'
            if member in members:
                raise ConfigError(f'{member}: two members have this name; give NAME=CONFIG')
            options = argparse.Namespace(**{**vars(args), 'config': path, 'seed': seed})
            options.work_dir = os.path.join(args.work_dir, member)
            members[member] = load_config(options)
            merge_args(members[member], options)
            check_config(members[member])
    return members


def main() -> None:
    """Check everything, then train."""
    args = parse_args()
    with clear_errors():
        cfg = cohort_config(read_members(args), args.work_dir)
        merge_resume(cfg, args)
        check_data_folders(cfg)
        add_guards(cfg)
        with work_folder(cfg.work_dir, rank_of(args.launcher)):
            Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
