"""Trials: trainings that tell Optuna each epoch how good they are, and end when they are bad."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from lakd_mm.engine import cohort_config
from lakd_mm.errors import ConfigError
from lakd_mm.models.algorithms.memory_format import keep_contiguous


@dataclass
class Outcome:
    """How a trial ended: 'complete', 'pruned' or 'diverged', with its last value, if any."""

    how: str
    epoch: int = 0
    value: Optional[float] = None


class _Diverged(Exception):
    pass


class ReportHook(Hook):
    """Tells Optuna the value of each epoch, and stops the trials that its pruner gives up.

    Args:
        trials (Dict[str, Trial]): By the name of the cohort's member; '' for a training alone.
        metric (str): The metric of the validation.
        tell (Callable): Is told number, epoch and value of each.
    """

    # Behind the hooks that change what is validated.
    priority = 'VERY_LOW'

    def __init__(self, trials: Mapping[str, Any], metric: str, tell: Callable):
        self.running = dict(trials)
        self.metric = metric
        self.tell = tell
        self.outcomes: dict[int, Outcome] = {}
        self.last: dict[int, Outcome] = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """End a training alone whose loss is not finite; a cohort does so itself."""
        if '' in self.running and not math.isfinite(outputs['loss'].item()):
            self.end('', 'diverged')
            raise _Diverged

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]):
        """Report an epoch, then decide for each trial whether it goes on."""
        self.note_diverged(runner)
        for name, trial in self.running.items():
            key = f'{name}/{self.metric}'.lstrip('/')
            if key not in metrics:
                known = ', '.join(k.removeprefix(f'{name}/') for k in metrics)
                raise ConfigError(f'--metric {self.metric}: the validation gives {known}')
            value = float(metrics[key])
            trial.report(value, runner.epoch)
            self.last[trial.number] = Outcome('complete', runner.epoch, value)
            self.tell(trial.number, runner.epoch, value)
        ends = runner.epoch >= runner.max_epochs
        for name, trial in list(self.running.items()):
            if ends:
                self.end(name, 'complete')
            elif trial.should_prune():
                self.end(name, 'pruned')
                if name:
                    runner.model.stop(name)
        if not self.running:
            runner.train_loop.stop_training = True

    def note_diverged(self, runner: Runner):
        """Note the members that a cohort has stopped by itself."""
        for name in getattr(runner.model, 'stopped', ()):
            if name in self.running:
                self.end(name, 'diverged')

    def end(self, name: str, how: str):
        """Note how a trial ended."""
        number = self.running.pop(name).number
        last = self.last.get(number, Outcome(how))
        self.outcomes[number] = Outcome(how, last.epoch, last.value)


class _QuietRunner(Runner):
    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Log into the file, and nothing to the terminal, which shows the search."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.CRITICAL)
        return logger


def prepare(cfg: Config) -> Config:
    """Return a config whose every epoch is validated, and which saves nothing.

    Raises:
        ConfigError: If it does not train by epochs.
    """
    cfg = Config(cfg._cfg_dict.to_dict(), filename=cfg.filename)
    train_cfg = cfg.get('train_cfg') or {}
    if not train_cfg.get('max_epochs') or not train_cfg.get('by_epoch', True):
        raise ConfigError('a search needs train_cfg.max_epochs, the epochs of each trial')
    cfg.train_cfg.update(val_interval=1, val_begin=1)
    hooks = cfg.get('default_hooks') or {}
    # A trial that was interrupted is asked anew, and the best config is trained on all images.
    hooks['checkpoint'] = dict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.default_hooks = hooks
    exporting = re.compile(r'(mmrazor\.)?ExportStudentHook')
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if not exporting.fullmatch(str(hook.get('type')))
    ]
    return cfg


def train(
    configs: Mapping[int, Config],
    trials: Mapping[int, Any],
    folder: Path,
    metric: str,
    tell: Callable,
) -> dict[int, Outcome]:
    """Train some trials, several as one cohort; return how each ended.

    Args:
        configs (Dict[int, Config]): By the trials' numbers.
        trials (Dict[int, Trial]): Likewise.
        folder (Path): Where to log.
        metric (str): See :class:`ReportHook`.
        tell (Callable): See :class:`ReportHook`.
    """
    name = 'trial_' + '_'.join(map(str, configs))
    if len(configs) == 1:
        (cfg,) = configs.values()
        names = {'': next(iter(trials.values()))}
    else:
        cfg = cohort_config(
            {f'trial_{number}': one for number, one in configs.items()}, str(folder / name)
        )
        names = {f'trial_{number}': trial for number, trial in trials.items()}
    cfg.work_dir, cfg.experiment_name = str(folder / name), name
    hook = ReportHook(names, metric, tell)
    runner = _QuietRunner.from_cfg(cfg)
    # Our preprocessor makes channels-last images, also for plain classifiers.
    keep_contiguous(runner.model)
    runner.register_hook(hook)
    try:
        runner.train()
    except _Diverged:
        pass
    except ConfigError:
        # A cohort refuses to go on without members.
        hook.note_diverged(runner)
        if hook.running:
            raise
    finally:
        for handler in list(runner.logger.handlers):
            handler.close()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return hook.outcomes
