"""Check values in a config: ranges of numbers, and parts that belong together."""

import logging
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.registry import METRICS
from mmengine.runner.priority import Priority

from ..errors import ConfigError
from ..models.nested import type_name
from .config_names import is_known, parts_at


class Number(NamedTuple):
    """The allowed range of a number."""

    whole: bool = False
    least: float = -math.inf
    most: float = math.inf
    why: str = ''
    exact: bool = False  # Whether 2.0 is no whole number, as for torch and NumPy.

    def refusal(self, value: Any) -> Optional[str]:
        """Say why a value is refused; None for a right one."""
        kind = 'a whole number' if self.whole else 'a number'
        fits = isinstance(value, Real) and not isinstance(value, bool)
        if fits and self.whole:
            fits = isinstance(value, Integral) or not self.exact and float(value).is_integer()
        if fits and self.least <= value <= self.most:
            return None
        ends = [f'at least {self.least}'] if self.least > -math.inf else []
        ends += [f'at most {self.most:.0f}'] if self.most < math.inf else []
        bounds = f'of {" and ".join(ends)}' if ends else ''
        return ' '.join(filter(None, [f'give {kind}', bounds, self.why]))


_COUNT, _WHOLE, _POSITIVE = Number(True, 1), Number(True, 0), Number(False, 0)
_EXACT_COUNT, _EXACT_WHOLE = (number._replace(exact=True) for number in (_COUNT, _WHOLE))
_RATE = Number(False, 0, 1e4)
_EPOCHS = Number(True, 1, math.inf, '(to train nothing, use tools/test.py)')
_VALIDATION = Number(True, 1, math.inf, '(for none, use --no-validate)')
_SEED = Number(True, 0, 2**32 - 1, exact=True)
# By key of the config; '**' is any depth below.
_NUMBERS = {
    'optim_wrapper.**': dict(
        lr=_RATE,
        weight_decay=_RATE,
        momentum=Number(False, 0, 1),
        accumulative_counts=_COUNT,
        max_norm=_POSITIVE,
        lr_mult=Number(),
        decay_mult=Number(),
    ),
    'param_scheduler.*': dict(
        T_max=Number(False, 1), step_size=_COUNT, gamma=Number(), eta_min=Number()
    ),
    'train_cfg': dict(
        max_epochs=_EPOCHS, max_iters=_EPOCHS, val_interval=_VALIDATION, val_begin=_WHOLE
    ),
    'default_hooks.*': dict(interval=Number(True)),
    'randomness': dict(seed=_SEED),
    'auto_scale_lr': dict(base_batch_size=_COUNT),
    **{
        f'{split}_dataloader': dict(batch_size=_EXACT_COUNT, num_workers=_EXACT_WHOLE)
        for split in ('train', 'val', 'test')
    },
}
# None is a value of these.
_MAY_BE_NONE = {'seed', 'max_norm', 'weight_decay', 'lr', 'momentum', 'val_begin'}
_MAY_BE_NONE |= {'T_max', 'end', 'eta_min', 'begin', 'base_batch_size', 'interval'}


def check_numbers(cfg: Config, splits: Sequence[str]) -> None:
    """Check that numbers are in their range.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' will be used.

    Raises:
        ConfigError: If one is no number or out of its range.
    """
    for place, numbers in _NUMBERS.items():
        used = place.partition('_')[0]
        if used in ('train', 'val', 'test') and used not in splits:
            continue
        deep = place.endswith('.**')
        for key, part in parts_at(cfg._cfg_dict, place.removesuffix('.**')):
            _check_part(key, part, numbers, deep)


def _check_part(key: str, part: Any, numbers: Mapping[str, Number], deep: bool) -> None:
    if not isinstance(part, Mapping):
        return
    for name, value in part.items():
        if name in numbers and not (value is None and name in _MAY_BE_NONE):
            refusal = numbers[name].refusal(value)
            if refusal:
                raise ConfigError(f'{key}.{name}={value!r}: {refusal}')
        elif deep:
            _check_part(f'{key}.{name}', value, numbers, deep)


def check_fits(cfg: Config, splits: Sequence[str]) -> None:
    """Check that parts that need each other are there, and that hooks name reported metrics.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' will be used.

    Raises:
        ConfigError: If a part is missing, or a metric is not reported or has too few classes.
    """
    _check_kinds(cfg)
    together = {
        'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        'val': ('val_dataloader', 'val_evaluator'),
        'test': ('test_dataloader', 'test_evaluator'),
    }
    for split in splits:
        # An empty list of metrics is allowed.
        absent = [key for key in together[split] if cfg.get(key) in (None, {})]
        if absent and (split != 'val' or len(absent) < len(together[split])):
            hint = ', or none of them with --no-validate' if split == 'val' else ''
            raise ConfigError(
                f'{absent[0]} is missing: give {", ".join(together[split])} together{hint}'
            )
        loader = cfg.get(f'{split}_dataloader')
        if loader and loader.get('persistent_workers') and not loader.get('num_workers'):
            raise ConfigError(
                f'{split}_dataloader.persistent_workers=True needs num_workers of at least 1; set '
                f'it to False'
            )
    if 'train' in splits and not cfg.optim_wrapper.get('members'):
        optimizer = cfg.optim_wrapper.get('optimizer')
        if not optimizer and not cfg.optim_wrapper.get('constructor'):
            raise ConfigError("optim_wrapper.optimizer is missing: give dict(type='SGD', lr=…)")
    for split in {'val', 'test'} & set(splits):
        for key, metric in parts_at(cfg._cfg_dict, f'{split}_evaluator.*'):
            _check_topk(key, metric, cfg)
    if 'val' in splits and cfg.get('val_evaluator'):
        _check_monitors(cfg)


def _check_kinds(cfg: Config) -> None:
    for key, kind, words in (
        ('custom_hooks', (list, tuple), 'a list of dicts'),
        ('default_hooks', Mapping, 'a dict of dicts'),
        ('resume', bool, 'True or False (name a checkpoint with --resume)'),
        ('load_from', str, 'a path or URL'),
        ('train_cfg', Mapping, 'a dict'),
        ('optim_wrapper', Mapping, 'a dict'),
        ('randomness', Mapping, 'a dict'),
    ):
        value = cfg.get(key)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f'{key}={value!r} is not {words}')
    methods = torch.multiprocessing.get_all_start_methods()
    for key, known in (
        ('log_level', logging._nameToLevel),
        ('env_cfg.mp_cfg.mp_start_method', methods),
    ):
        for _, value in parts_at(cfg._cfg_dict, key):
            if isinstance(value, str) and value not in known:
                raise ConfigError(f'{key}={value!r} is none of {", ".join(known)}')
    for place in ('default_hooks.*', 'custom_hooks.*'):
        for key, hook in parts_at(cfg._cfg_dict, place):
            priority = hook.get('priority') if isinstance(hook, Mapping) else None
            if isinstance(priority, str) and priority.upper() not in Priority.__members__:
                known = ', '.join(Priority.__members__)
                raise ConfigError(f'{key}.priority={priority!r} is none of {known}')


def _is_accuracy(metric: Any) -> bool:
    name = str(metric.get('type')) if isinstance(metric, Mapping) else ''
    return name in ('Accuracy', 'mmpretrain.Accuracy', 'mmcls.Accuracy')


def _topk(metric: Mapping) -> tuple:
    topk = metric.get('topk', (1,))
    return tuple(topk) if isinstance(topk, (list, tuple)) else (topk,)


def _check_topk(key: str, metric: Any, cfg: Config) -> None:
    """Compare an accuracy's ``topk`` with the student's classes."""
    if not _is_accuracy(metric):
        return
    model = cfg.model
    while isinstance(model.get('architecture'), Mapping):
        model = model['architecture']
    head = model.get('head')
    classes = head.get('num_classes') if isinstance(head, Mapping) else None
    for k in _topk(metric):
        refusal = _EXACT_COUNT.refusal(k)
        if refusal:
            raise ConfigError(f'{key}.topk={metric["topk"]!r}: {refusal}')
        if isinstance(classes, int) and 0 < classes < k:
            raise ConfigError(
                f'{key}.topk: top-{k} accuracy of {classes} classes; set {key}.topk=(1,)'
            )


def _check_monitors(cfg: Config) -> None:
    """Check that the validation reports the metrics that hooks monitor."""
    for place in ('default_hooks.*', 'custom_hooks.*'):
        for key, hook in parts_at(cfg._cfg_dict, place):
            if not isinstance(hook, Mapping):
                continue
            # Hooks of other packages may monitor anything.
            stops = type_name(hook) == 'EarlyStoppingHook'
            for option in ('save_best', 'monitor') if stops else ('save_best',):
                given = hook.get(option)
                for name in given if isinstance(given, (list, tuple)) else [given]:
                    if isinstance(name, str) and name not in ('auto', 'loss'):
                        check_reported(cfg, name, f'{key}.{option}={given!r}')


def check_reported(cfg: Config, name: str, where: str) -> None:
    """Check that a config's validation reports a metric.

    Args:
        cfg (Config): The config.
        name (str): The metric, such as 'accuracy/top1'.
        where (str): The key or option that names it, for the message.

    Raises:
        ConfigError: If it does not, and the names of all its metrics are known.
    """
    metrics = [metric for _, metric in parts_at(cfg._cfg_dict, 'val_evaluator.*')]
    names, open_ended = reported(metrics, cfg.get('default_scope') or 'mmengine')
    if not (open_ended or name in names or name.startswith(tuple(f'{n}/' for n in names))):
        known = ', '.join(sorted(names))
        raise ConfigError(f'{where}: the validation does not report {name}, but {known}')


def reported(metrics: Sequence[Any], scope: str) -> tuple[set, bool]:
    """Return the names, or their prefixes, that metrics report; and whether others may come."""
    found: set[str] = set()
    for metric in metrics:
        if not is_known(METRICS, metric, scope):
            return found, True
        with METRICS.switch_scope_and_registry(metric.get('_scope_') or scope) as registry:
            kind = registry.get(metric['type'])
        prefix = metric.get('prefix') or getattr(kind, 'default_prefix', None)
        if not prefix:
            return found, True
        thresholds = metric.get('thrs', 0.0)
        if _is_accuracy(metric) and not isinstance(thresholds, (list, tuple)):
            found |= {f'{prefix}/top{k}' for k in _topk(metric)}
        else:
            found.add(prefix)
    return found, False
