"""Evaluate a checkpoint on the test set of a config."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Optional

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
# randomness.deterministic=True needs it on a GPU, where cuBLAS is not deterministic otherwise.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import mmengine
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner

from lakd_mm.engine import (
    ConfigError,
    check_config,
    check_data_folders,
    clear_errors,
    load_config,
)
from lakd_mm.engine.command_line import (
    add_common_arguments,
    check_common_arguments,
    refuse_ignored_options,
    refuse_overridden_keys,
)
from lakd_mm.errors import misfit


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', help='file (.pkl, .json) for the results')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='what --out holds: the metrics, or the predictions (default)',
    )
    args = parser.parse_args()
    check_common_arguments(parser, args)
    refuse_overridden_keys(parser, args, dict(load_from='the checkpoint'))
    if not args.out:
        refuse_ignored_options(parser, args, ['out_item'], 'without --out; add that')
    return args


def check_out(out: Optional[str], item: str) -> None:
    """Check before testing that ``--out`` can be written.

    Raises:
        ConfigError: If its format is unknown, or it is below a file.
    """
    if out is None:
        return
    texts = ('.json', '.yml', '.yaml') if item == 'metrics' else ()
    if not out.endswith(('.pkl', '.pickle', *texts)):
        also = ' or .json' if texts else ' (.json holds --out-item metrics)'
        raise ConfigError(f'--out {out}: give a name that ends in .pkl{also}')
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'--out {out}: {error.filename}: {error.strerror}') from None


def choose_teacher(cfg: Config, args: argparse.Namespace) -> None:
    """Do without the config's ``teacher_ckpt`` where it is absent: only the student predicts.

    Raises:
        ConfigError: If the command line names another one than the checkpoint holds.
    """
    files = cfg.model.get('teacher_ckpt')
    if 'model.teacher_ckpt' in args.cfg_options:
        held = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu', logger='silent')
        if any(key.startswith('teacher.') for key in held.get('state_dict', held)):
            raise ConfigError(
                '--cfg-options model.teacher_ckpt would be ignored: the checkpoint holds the '
                'teacher; leave it out'
            )
    elif files and not all(map(os.path.exists, [files] if isinstance(files, str) else files)):
        cfg.model.teacher_ckpt = None


def evaluate(runner: Runner) -> dict:
    """Test with a checkpoint that must fit, and return the metrics.

    Raises:
        ConfigError: If the checkpoint is of another network.
    """
    # Without this, MMEngine would only warn and test random weights.
    runner.load_checkpoint = partial(runner.load_checkpoint, strict=True)
    try:
        return runner.test()
    except RuntimeError as error:
        raise ConfigError(
            f'checkpoint {runner.cfg.load_from} is not one of this config. Name the config that '
            f'it was trained with. {misfit(error)}'
        ) from None


def main() -> None:
    """Check everything, then test."""
    args = parse_args()
    with clear_errors():
        cfg = load_config(args)
        check_config(cfg, splits=['test'])
        check_data_folders(cfg, splits=['test'])
        check_out(args.out, args.out_item)
        cfg.load_from = args.checkpoint
        choose_teacher(cfg, args)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if args.out and args.out_item == 'pred':
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        metrics = evaluate(runner)
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
