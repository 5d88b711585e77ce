"""A hook that passes the model to metrics that need it."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmrazor.registry import HOOKS
from torch.utils.data import DataLoader

from ...models.teachers import brings_weights
from ..config_checks import ConfigError


@HOOKS.register_module()
class ModelForMetricsHook(Hook):
    """Pass the model to every metric with a ``use_model(model, batch)``.

    It does so before the run, with two images of the metric's data, so that a metric that does not
    fit fails before training. Other metrics are not affected.
    """

    def __init__(self):
        self._checkpoint = None
        self._holds_teacher = False

    def before_run(self, runner: Runner) -> None:
        """Pass the model on.

        Raises:
            ConfigError: If a metric cannot work with the model.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # A loop that this run does not use is still a config.
        for loop in (runner._val_loop, runner._test_loop):
            known = loop.evaluator.metrics if isinstance(loop, BaseLoop) else ()
            metrics = [metric for metric in known if hasattr(metric, 'use_model')]
            if metrics:
                batch = first_images(loop.dataloader)
                for metric in metrics:
                    metric.use_model(model, batch)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether a checkpoint holds the teacher."""
        state = checkpoint.get('state_dict', checkpoint)
        self._checkpoint = runner.cfg.get('load_from')
        self._holds_teacher = any(key.startswith('teacher.') for key in state)

    def before_test(self, runner: Runner) -> None:
        """Check that no metric uses a teacher with random weights.

        Raises:
            ConfigError: If one does.
        """
        for metric in runner.test_loop.evaluator.metrics:
            if getattr(metric, 'uses_runs_teacher', False) and not (
                metric.teacher.is_init or self._holds_teacher or brings_weights(metric.teacher)
            ):
                raise ConfigError(
                    f'{type(metric).__name__}: the teacher has random weights, checkpoint '
                    f'{self._checkpoint} does not hold it. Give the metric teacher=…, '
                    f'teacher_ckpt=… and data_preprocessor=…'
                )


def first_images(dataloader: DataLoader, count: int = 2) -> Any:
    """Return a batch of a loader's first images, without starting its workers."""
    dataset = dataloader.dataset
    indices = range(min(count, len(dataset)))
    if hasattr(dataset, '__getitems__'):
        return dataloader.collate_fn(dataset.__getitems__(list(indices)))
    return dataloader.collate_fn([dataset[i] for i in indices])
