"""Train the model of a config."""

import argparse
import os

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
# randomness.deterministic=True needs it on a GPU, where cuBLAS is not deterministic otherwise.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from lakd_mm.engine import (
    ConfigError,
    add_guards,
    add_run_arguments,
    best_half,
    check_amp,
    check_common_arguments,
    check_config,
    check_data_folders,
    clear_errors,
    load_config,
    optim_wrappers,
    rank_of,
    refuse_overridden_keys,
    work_folder,
)
from lakd_mm.models.algorithms.memory_format import keep_contiguous
from lakd_mm.models.nested import type_name


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training, other than its config and its seed."""
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint; without one, from the latest in the work folder',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=['auto', 'bf16', 'fp16'],
        help='mixed precision; alone bf16 on a CPU and where the GPU has it, else fp16',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size'
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not validate during training'
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or package::config, as lakd_mm::lakd/….py')
    add_training_arguments(parser)
    parser.add_argument('--seed', type=int, help='seed of all random numbers (randomness.seed)')
    args = parser.parse_args()
    check_training_arguments(parser, args)
    if args.seed is not None:
        refuse_overridden_keys(parser, args, {'randomness.seed': '--seed'})
    return args


def check_training_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program if an option of :func:`add_training_arguments` would be ignored."""
    check_common_arguments(parser, args)
    if args.resume:
        refuse_overridden_keys(parser, args, {'resume': '--resume', 'load_from': '--resume'})
    if args.no_validate:
        keys = ('val_cfg', 'val_dataloader', 'val_evaluator')
        refuse_overridden_keys(parser, args, dict.fromkeys(keys, '--no-validate'))


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Write the options of the command line into the config.

    Raises:
        ConfigError: If an option does not fit the config or the machine.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.seed is not None:
        cfg.randomness = {**cfg.get('randomness', {}), 'seed': args.seed}
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size.')
        cfg.auto_scale_lr.enable = True
    for wrapper in optim_wrappers(cfg) if args.amp else ():
        kind = type_name({'type': 'OptimWrapper', **wrapper})
        if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ConfigError(f'--amp: optim_wrapper.type is {kind}, which it cannot replace.')
        wrapper['type'] = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
        half = {'bf16': 'bfloat16', 'fp16': 'float16'}
        wrapper['dtype'] = half.get(args.amp) or wrapper.get('dtype') or best_half()
    check_amp(cfg, '--amp' if args.amp else 'optim_wrapper.type')


def merge_resume(cfg: Config, args: argparse.Namespace) -> None:
    """Write ``--resume`` into the config."""
    if args.resume == 'auto':
        cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:
            cfg.load_from = None
        elif os.environ.get('RANK', '0') == '0':
            print(f'--resume: no checkpoint in {cfg.work_dir}, training starts anew.')
    elif args.resume:
        cfg.resume = True
        cfg.load_from = args.resume


def main() -> None:
    """Check everything, then train."""
    args = parse_args()
    with clear_errors():
        cfg = load_config(args)
        merge_args(cfg, args)
        merge_resume(cfg, args)
        check_config(cfg)
        check_data_folders(cfg)
        add_guards(cfg)
        with work_folder(cfg.work_dir, rank_of(args.launcher)):
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            # Our preprocessor makes channels-last images, also for plain classifiers.
            keep_contiguous(runner.model)
            runner.train()


if __name__ == '__main__':
    main()
