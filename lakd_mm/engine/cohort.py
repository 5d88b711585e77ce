"""Optimizers, metrics and the config of a cohort."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch.nn as nn
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import EVALUATOR, OPTIM_WRAPPER_CONSTRUCTORS

from ..errors import ConfigError
from ..models.nested import type_name
from .config_checks import best_half

# Keys that must be equal in the configs of all members.
_SHARED = (
    'train_dataloader',
    'val_dataloader',
    'train_cfg',
    'val_cfg',
    'data_preprocessor',
    'default_scope',
    'default_hooks',
    'custom_hooks',
    'log_processor',
    'env_cfg',
)
_OF_TEACHER = ('teacher', 'teacher_ckpt', 'save_teacher', 'lean_teacher')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CohortOptimWrapperConstructor:
    """Builds an optimizer wrapper for each member of a :class:`Cohort`.

    Args:
        optim_wrapper_cfg (dict): ``members``, the ``optim_wrapper`` of each by its name.
        paramwise_cfg (dict, optional): Refused; it belongs to a member's own wrapper.

    Raises:
        ConfigError: If the names are not those of the members, or ``paramwise_cfg`` is given.

    Examples:
        >>> optim_wrapper = dict(
        ...     constructor='CohortOptimWrapperConstructor',
        ...     members=dict(kd=dict(optimizer=dict(type='SGD', lr=0.1))))
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None):
        self.members = optim_wrapper_cfg.get('members') or {}
        if paramwise_cfg is not None:
            raise ConfigError('paramwise_cfg of a cohort belongs into optim_wrapper.members.NAME')

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the wrappers of a cohort's members."""
        members = (model.module if is_model_wrapper(model) else model).members
        if set(members) != set(self.members):
            raise ConfigError(
                f'optim_wrapper.members are {", ".join(self.members)}, but the cohort has '
                f'{", ".join(members)}'
            )
        wrappers = {
            name: build_optim_wrapper(member, dict(self.members[name]))
            for name, member in members.items()
        }
        return OptimWrapperDict(**wrappers)


@EVALUATOR.register_module()
class CohortEvaluator:
    """Reports the metrics of each member of a :class:`Cohort` under its name.

    Args:
        metrics (Dict[str, dict | list]): The ``val_evaluator`` of each member, by its name.
    """

    def __init__(self, metrics: Mapping[str, Any]):
        self.evaluators = {name: Evaluator(cfg) for name, cfg in metrics.items()}

    @property
    def metrics(self) -> list:
        """All metrics of all members."""
        return [metric for evaluator in self.evaluators.values() for metric in evaluator.metrics]

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Facts about the data set, such as its classes."""
        return next(iter(self.evaluators.values())).dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: Optional[dict]):
        for evaluator in self.evaluators.values():
            evaluator.dataset_meta = dataset_meta

    def process(self, data_samples: Sequence, data_batch: Any = None):
        """Hand each member's predictions to its metrics."""
        for name, evaluator in self.evaluators.items():
            evaluator.process([sample.get(name) for sample in data_samples], data_batch)

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute ``name/metric`` for all members."""
        return {
            f'{name}/{metric}': value
            for name, evaluator in self.evaluators.items()
            for metric, value in evaluator.evaluate(size).items()
        }


def _precision(wrapper: Mapping) -> str:
    amp = type_name(wrapper) == 'AmpOptimWrapper'
    return str(wrapper.get('dtype') or best_half()).removeprefix('torch.') if amp else 'float32'


def metric_watcher(cfg: Config) -> Optional[str]:
    """Name the hook or scheduler of a config that acts on a metric; a cohort has one per member."""
    hooks = [*(cfg.get('custom_hooks') or []), *(cfg.get('default_hooks') or {}).values()]
    schedulers = cfg.get('param_scheduler') or []
    parts = [*hooks, *(schedulers if isinstance(schedulers, (list, tuple)) else [schedulers])]
    names = [type_name(part) for part in parts if isinstance(part, dict)]
    watchers = (name for name in names if name.startswith(('EarlyStopping', 'ReduceOnPlateau')))
    return next(watchers, None)


def cohort_config(configs: Mapping[str, Config], work_dir: str) -> Config:
    """Make the config that trains several configs as one cohort.

    The ``randomness`` of the first config determines the order and augmentation of the images for
    all; the seeds of the others only initialise their students.

    Args:
        configs (Mapping[str, Config]): Trainings of one teacher on one data set, by name.
        work_dir (str): Folder of the cohort; each member has a folder in it, see
            :class:`CohortCheckpointHook`.

    Returns:
        Config: For MMEngine's ``Runner``.

    Raises:
        ConfigError: If the trainings differ in data, length, hooks or teacher, or one ends or
            changes its learning rate by a metric.
    """
    if not configs:
        raise ConfigError('a cohort needs at least one config')
    first_name, first = next(iter(configs.items()))
    for name, cfg in configs.items():
        for key in _SHARED:
            if cfg.get(key) != first.get(key):
                raise ConfigError(
                    f'a cohort shares data, length and hooks, but {key} of {name} and {first_name} '
                    f'differ; train them apart'
                )
        watcher = metric_watcher(cfg)
        if watcher:
            raise ConfigError(
                f'{name}: {watcher} acts on a metric, of which each student of a cohort has its '
                f'own; leave it out, or train {name} alone'
            )
    students = {name: cfg for name, cfg in configs.items() if 'teacher' in cfg.model}
    precisions = {name: _precision(cfg.optim_wrapper) for name, cfg in students.items()}
    for name, precision in precisions.items():
        one = next(iter(students))
        if precision != precisions[one]:
            raise ConfigError(
                f'a cohort runs its teacher in one precision, but {name} trains in {precision} and '
                f'{one} in {precisions[one]}; train them apart'
            )
    teacher = {}
    for name, cfg in students.items():
        of_this = {key: cfg.model[key] for key in _OF_TEACHER if key in cfg.model}
        if of_this != (teacher or of_this):
            raise ConfigError(
                f'a cohort has one teacher, but those of {name} and {next(iter(students))} differ; '
                f'train them apart'
            )
        teacher = of_this
    if teacher.pop('lean_teacher', None):
        raise ConfigError('lean_teacher: a cohort chooses it itself; leave it out')
    merged = Config(first.to_dict())
    merged.work_dir = work_dir
    merged.model = dict(type='mmrazor.Cohort', members={}, **teacher)
    merged.optim_wrapper = dict(constructor='CohortOptimWrapperConstructor', members={})
    merged.param_scheduler = {}
    evaluators = {}
    for name, cfg in configs.items():
        member = {k: v for k, v in cfg.model.items() if k not in _OF_TEACHER}
        member['seed'] = cfg.get('randomness', {}).get('seed')
        merged.model.members[name] = member
        merged.optim_wrapper.members[name] = cfg.optim_wrapper
        merged.param_scheduler[name] = cfg.get('param_scheduler') or []
        evaluators[name] = cfg.get('val_evaluator')
    if first.get('val_dataloader') is not None:
        merged.val_evaluator = dict(type='CohortEvaluator', metrics=evaluators)
    # Any other wrapper would average the gradients of all members in one backward.
    merged.model_wrapper_cfg = dict(
        type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False
    )
    merged.test_dataloader = merged.test_cfg = merged.test_evaluator = None
    hook = dict(
        type='mmrazor.CohortCheckpointHook',
        configs={name: cfg.to_dict() for name, cfg in configs.items()},
    )
    hooks = merged.get('default_hooks') or {}
    # Each member has its own best checkpoint, which CohortCheckpointHook keeps.
    (hooks.get('checkpoint') or {}).pop('save_best', None)
    merged.custom_hooks = [*(first.get('custom_hooks') or []), hook]
    return merged
