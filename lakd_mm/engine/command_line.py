"""Options, checks and errors that the tools share."""

import os
import os.path as osp
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional
from urllib.error import URLError

import torch
from mmengine.config import Config, DictAction

from ..compat.dense import EXTRAS
from ..errors import ConfigError
from .config_checks import check_options
from .config_file import check_model, import_customs, read_config_file
from .mistakes import mistake_of


class OptionsAction(DictAction):
    """MMEngine's ``--cfg-options``, with a clear error for what it cannot read."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Read the options."""
        for value in values:
            if not re.match(r'[^\s=]+=', value):
                parser.error(f'{option_string} {value}: write KEY=VALUE, without spaces around =')
        try:
            super().__call__(parser, namespace, values, option_string)
        except RecursionError:
            parser.error(
                f'{option_string} {" ".join(values)}: a dict cannot be given here; set its keys, '
                f'as in model.a.b=1, or write it into a config file'
            )
        except AssertionError as error:
            parser.error(f'{option_string} {" ".join(values)}: {error}')


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add a config and the options that every OpenMMLab tool has."""
    parser.add_argument('config', help='config file, or package::config, as lakd_mm::lakd/….py')
    add_run_arguments(parser)


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the options that every OpenMMLab tool has."""
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='change the config, as in model.teacher_ckpt=a.pth "model.taps=[1,4,9]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes (default: none)',
    )
    # Both spellings, since torch.distributed.launch has changed its own.
    parser.add_argument('--local_rank', '--local-rank', type=int, help='for launchers')


def at_least(least: int) -> Callable[[str], int]:
    """Return an option's ``type``: a whole number of at least ``least``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ArgumentTypeError(f'{text}: give a whole number of at least {least}')
        return value

    return read


def refuse_ignored_options(
    parser: ArgumentParser, args: Namespace, names: Sequence[str], why: str
) -> None:
    """End the program if a given option has no effect in combination with the others.

    Args:
        parser (ArgumentParser): The tool's parser.
        args (Namespace): The tool's arguments.
        names (Sequence[str]): The options' names in ``args``.
        why (str): Why they have no effect, and what to do.
    """
    given = [name for name in names if getattr(args, name) != parser.get_default(name)]
    if given:
        options = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        parser.error(f'{options} would be ignored {why}')


def refuse_overridden_keys(parser: ArgumentParser, args: Namespace, keys: dict[str, str]) -> None:
    """End the program if ``--cfg-options`` set a key that another option overrides.

    Args:
        parser (ArgumentParser): The tool's parser.
        args (Namespace): The tool's arguments.
        keys (Dict[str, str]): Config keys, each with the option that overrides it.
    """
    for key, option in keys.items():
        for name in args.cfg_options:
            if name == key or name.startswith(f'{key}.'):
                parser.error(f'--cfg-options {name} would be ignored beside {option}; give one')


def check_common_arguments(parser: ArgumentParser, args: Namespace) -> None:
    """End the program if an option of :func:`add_common_arguments` would be ignored.

    Args:
        parser (ArgumentParser): The tool's parser.
        args (Namespace): The tool's arguments.
    """
    refuse_overridden_keys(parser, args, {'launcher': '--launcher'})
    if args.work_dir:
        refuse_overridden_keys(parser, args, {'work_dir': '--work-dir'})
    if args.launcher != 'pytorch':
        refuse_ignored_options(parser, args, ['local_rank'], 'without --launcher pytorch; add that')


def check_launcher(args: Namespace) -> None:
    """Check that the program of ``--launcher`` has started this process.

    Raises:
        ConfigError: If its variables are not set.
    """
    wanted = dict(
        pytorch=('RANK', 'torchrun or tools/dist_train.sh'),
        slurm=('SLURM_PROCID', 'srun or tools/slurm_train.sh'),
        mpi=('OMPI_COMM_WORLD_RANK', 'mpirun'),
    )
    name, how = wanted.get(args.launcher, ('', ''))
    if name and name not in os.environ:
        raise ConfigError(
            f'--launcher {args.launcher}: {name} is not set, so it has not started this process; '
            f'start it with {how}, or leave --launcher out'
        )


def load_config(args: Namespace) -> Config:
    """Read the config that the options of :func:`add_common_arguments` name.

    Raises:
        ConfigError: If a file does not exist or ``--cfg-options`` do not fit the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank or 0))
    check_launcher(args)
    cfg = read_config_file(args.config)
    check_options(cfg, args.cfg_options)
    cfg.merge_from_dict(args.cfg_options)
    check_model(cfg, args.config)
    if any(key.startswith('custom_imports') for key in args.cfg_options):
        import_customs(cfg)

    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config.rpartition(':')[2]))[0]
    # A Path would be written into dumped configs without quotes.
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name))
    for split in ('train', 'val', 'test'):
        dataloader = cfg.get(f'{split}_dataloader')
        if dataloader:
            # MMPretrain's _base_ configs rely on these defaults of its tools.
            dataloader.setdefault('pin_memory', torch.cuda.is_available())
            dataloader.setdefault('persistent_workers', dataloader.get('num_workers', 0) > 0)
            if cfg.get('default_scope') not in EXTRAS:
                dataloader.setdefault('collate_fn', dict(type='default_collate'))
    return cfg


def public_path(path: str) -> str:
    """Shorten a path to one that shows no folders of this machine."""
    if not path.startswith('/'):
        return path
    absolute, here = Path(path), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


@contextmanager
def clear_errors() -> Iterator[None]:
    """End the program with one message, without a traceback, for errors that the user can mend.

    These are a :class:`ConfigError`, a failure while a part of a config is built, a failed
    download, a result that cannot be written, and Ctrl-C. ``DEBUG=1`` shows the traceback.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get('DEBUG', '0') not in ('', '0'):
            raise
        text = _explain(error)
        if text is None:
            raise
        raise SystemExit(f'error: {text}') from None
    except KeyboardInterrupt:
        print('\nstopped by Ctrl-C', file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


def _explain(error: Exception) -> Optional[str]:
    """Say how the user can mend an error; None if only a developer can."""
    if isinstance(error, ConfigError):
        # A data loader's worker sends its traceback along.
        return re.sub(r'(?s)^Caught .*\n[\w.]+: ', '', str(error)).rstrip()
    if isinstance(error, URLError):
        return (
            f'the data are absent and their download failed ({error.reason}). Fetch them '
            'where there is a connection, and set data_root of the data sets to their folder.'
        )
    mistake = mistake_of(error)
    if mistake is None and isinstance(error, OSError) and error.filename:
        return f'{error.filename}: {error.strerror}. Name another file, or change its rights.'
    return mistake and str(mistake)
