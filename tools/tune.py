"""Search what a config leaves open: loss weights, places, learning rates, of any method and pair.

Trials are measured on a part of the training images that is held out; the test images are never
seen. Called again it goes on where it was stopped; several calls, on several machines too with a
--storage that all reach, share the trials of one study.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.config import Config

from lakd_mm.engine import (
    ConfigError,
    OptionsAction,
    check_amp,
    check_config,
    check_data_folders,
    clear_errors,
    load_config,
    refuse_ignored_options,
)
from lakd_mm.engine.command_line import at_least, public_path
from lakd_mm.engine.config_values import check_reported
from lakd_mm.engine.work_folder import refuse_file
from reproduction.held_out import count_held_out, hold_out
from reproduction.run_config import identity
from tuning.progress import Progress
from tuning.results import best_trial, draw, write_best
from tuning.space import Parameter, check_space, read_points, read_space, with_values
from tuning.study import (
    check_optuna,
    counted,
    fail_interrupted,
    give_up,
    heartbeat,
    is_storage_error,
    make_pruner,
    open_study,
    storage_errors,
    worker,
)
from tuning.trials import prepare, train

# Failures in a row after which a search gives up.
FAILURES = 3


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or package::config, as lakd_mm::lakd/….py')
    space = 'KEY=log:LOW:HIGH, =float:LOW:HIGH, =int:LOW:HIGH or =choice:A,B,C; or YAML files'
    parser.add_argument('--space', nargs='+', action='extend', required=True, help=space)
    first = 'YAML list of points that are tried first, as - {model.ce_weight: 2}'
    parser.add_argument('--first', metavar='FILE', help=first)
    total = 'of the study, over all calls'
    parser.add_argument('--trials', type=at_least(1), required=True, help=total)
    together = 'trials that train as one cohort, with one pass of the teacher (default: 1)'
    parser.add_argument('--together', type=at_least(1), default=1, help=together)
    held_out = 'share of the training images of each class to validate on (default: 0.1)'
    parser.add_argument('--held-out', type=float, default=0.1, help=held_out)
    metric = 'of the validation, at the last epoch (default: %(default)s)'
    parser.add_argument('--metric', default='accuracy/top1', help=metric)
    parser.add_argument('--minimize', action='store_true', help='lower is better')
    pruner = 'what stops bad trials early: the median of the others at the same epoch (default), '
    pruner += 'or halving: only the best quarter goes on after epoch 1, 4, 16'
    parser.add_argument(
        '--pruner', choices=['median', 'halving', 'none'], default='median', help=pruner
    )
    warmup = 'no trial is stopped before this epoch (default: 1)'
    parser.add_argument('--warmup', type=at_least(1), default=1, metavar='EPOCH', help=warmup)
    storage = 'URL of a data base (default: sqlite, study.db in the work folder)'
    parser.add_argument('--storage', help=storage)
    parser.add_argument('--study', help='its name there (default: the config’s)')
    folder = 'folder of all that is written (default: work_dirs/tune/<config name>)'
    parser.add_argument('--work-dir', type=Path, help=folder)
    options = 'change the config of all trials, as in train_cfg.max_epochs=5'
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, default={}, help=options)
    args = parser.parse_args()
    if args.study == '':
        parser.error('--study: the name is empty; give one, or leave the option out')
    if args.pruner == 'none':
        refuse_ignored_options(parser, args, ['warmup'], 'with --pruner none, which stops nothing')
    args.launcher, args.local_rank = 'none', None
    name = Path(args.config.rpartition(':')[2]).stem
    args.study = args.study or name
    args.work_dir = args.work_dir or Path('work_dirs/tune') / name
    args.storage = args.storage or f'sqlite:///{args.work_dir}/study.db'
    return args


class Search:
    """A worker of a study.

    Args:
        args (Namespace): The options.

    Raises:
        ConfigError: If anything is wrong that can be known before training.
    """

    def __init__(self, args: argparse.Namespace):
        check_optuna()
        refuse_file(args.work_dir)
        self.args = args
        self.space: list[Parameter] = read_space(args.space)
        self.plain: Config = load_config(args)
        self.cfg = hold_out(prepare(self.plain), args.held_out)
        check_space(self.space, self.cfg, args.together)
        points = read_points(args.first, self.space) if args.first else []
        check_config(self.cfg)
        check_reported(self.cfg, args.metric, f'--metric {args.metric}')
        for end in (0, -1):
            check_config(with_values(self.cfg, {p.key: p.values[end] for p in self.space}))
        check_amp(self.cfg, 'optim_wrapper.type')
        check_data_folders(self.cfg)
        self.images = count_held_out(self.cfg)
        epochs = self.cfg.train_cfg.max_epochs
        if args.pruner != 'none' and args.warmup > max(1, epochs - 1):
            raise ConfigError(f'--warmup {args.warmup}: trials of {epochs} epochs end before')
        settings = dict(
            config=identity(self.cfg),
            space=[str(one) for one in self.space],
            metric=args.metric,
            held_out=args.held_out,
        )
        direction = 'minimize' if args.minimize else 'maximize'
        pruner = make_pruner(args.pruner, args.warmup)
        self.study = open_study(args.storage, args.study, direction, pruner, settings)
        for point in points:
            self.study.enqueue_trial(point, skip_if_exists=True)
        self.failures = 0

    def run(self) -> None:
        """Train until the study has its trials, then draw."""
        args, epochs = self.args, self.cfg.train_cfg.max_epochs
        with (
            storage_errors(args.storage),
            Progress(args.trials, epochs) as progress,
        ):
            progress.say(f'each epoch is measured on {self.images} training images, held out')
            while True:
                interrupted = fail_interrupted(self.study)
                if interrupted:
                    progress.say(f'interrupted trials are asked anew: {interrupted}')
                missing = args.trials - counted(self.study)
                if missing <= 0:
                    break
                self.train_some(min(missing, args.together), progress)
            for line in self.report():
                progress.say(line)

    def train_some(self, count: int, progress: Progress) -> None:
        """Ask for trials, train them together, and tell how they ended."""
        args, trials = self.args, {}
        for _ in range(count):
            trial = self.study.ask()
            trial.set_user_attr('worker', worker())
            trials[trial.number] = trial
        # An interrupted trial has its parameters, to be asked anew, from here on.
        values = {n: {p.key: p.suggest(trial) for p in self.space} for n, trial in trials.items()}
        progress.begin(values)
        configs = {number: with_values(self.cfg, one) for number, one in values.items()}
        folder = args.work_dir / 'trials'
        try:
            with heartbeat(self.study, list(trials.values())):
                outcomes = train(configs, trials, folder, args.metric, progress.epoch)
        except BaseException as error:
            self.failed(trials, error, progress)
            return
        self.failures = 0
        for number, outcome in outcomes.items():
            self.tell(trials[number], outcome)
            progress.end(number, outcome, best_trial(self.study), counted(self.study))
        if best_trial(self.study):
            self.write_best()

    def tell(self, trial: Any, outcome: Any) -> None:
        """Tell Optuna how a trial ended; one that diverged counts as bad, not as failed."""
        from optuna.trial import TrialState

        if outcome.how == 'complete':
            self.study.tell(trial, outcome.value)
        else:
            trial.set_user_attr('ended', outcome.how)
            self.study.tell(trial, state=TrialState.PRUNED)

    def failed(self, trials: dict, error: BaseException, progress: Progress) -> None:
        """Mark trials as failed; raise again what is no failure of these trials alone."""
        progress.forget()
        stopped = not isinstance(error, Exception)
        if is_storage_error(error):
            raise error
        for number in trials:
            give_up(self.study, number, anew=stopped)
        self.failures += 1
        if stopped or self.failures == FAILURES or best_trial(self.study) is None:
            raise error
        numbers = ', '.join(map(str, trials))
        text = (str(error).strip().splitlines() or [''])[0]
        progress.say(f'trial {numbers}   FAILED: {type(error).__name__}: {text}')

    def write_best(self) -> None:
        """Write the best config so far."""
        args = self.args
        base = args.config if '::' in args.config else os.path.abspath(args.config)
        options = shlex.join(f'{k}={public_path(str(v))}' for k, v in args.cfg_options.items())
        note = f'on {100 * args.held_out:g} % of the training images, held out'
        note += f'; searched with --cfg-options {options}' if options else ''
        write_best(self.study, self.plain, base, self.space, args.work_dir / 'best.py', note)

    def report(self) -> Sequence[str]:
        """Draw, and return the lines that say what was found."""
        best = best_trial(self.study)
        if best is None:
            return ['no trial is complete yet']
        lines = [f'{self.args.metric} {best.value:.6g} in trial {best.number}:']
        lines += [f'  {key} = {value}' for key, value in best.params.items()]
        lines += draw(self.study, self.args.work_dir)
        return [*lines, f'-> {self.args.work_dir}/best.py, for tools/train.py']


def main() -> None:
    """Check everything, then search."""
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: terminated'))
    with clear_errors():
        try:
            Search(args).run()
        except KeyboardInterrupt:
            raise ConfigError('stopped; the same command goes on where it was.') from None


if __name__ == '__main__':
    main()
