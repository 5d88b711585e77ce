"""The config of one run: what the repository has, with the budget and the data of the call."""

from pathlib import Path
from typing import Optional
from unittest.mock import patch

from mmengine.config import Config

from lakd_mm.engine import check_options, metric_watcher
from lakd_mm.errors import ConfigError, near_names
from lakd_mm.models.nested import map_dicts

from .held_out import hold_out, holder_of, shrink_banks
from .targets import DATA, READING_KEYS, Budget, Cell, digest

# What a data base in configs/_base_/datasets adds to the name of the data set; the configs' first.
LAYOUTS = {
    'in_memory': '',
    'folder_in_memory': '',  # what earlier results call the same
    'stock': '_stock',
}
# Schedules measured in epochs, which follow the number of epochs.
EPOCH_KEYS = ('milestones', 'begin', 'end', 'T_max', 'step_size')
# What the options of a call are for.
OWN_KEYS = ('train_cfg', 'randomness', 'default_hooks.checkpoint', 'model.teacher_ckpt')
# What makes a run another one.
IDENTITY_KEYS = (
    'model', 'data_preprocessor', 'train_dataloader', 'optim_wrapper', 'param_scheduler',
    'train_cfg',
)  # fmt: skip


def read_config(configs: Path, cell: Cell, recipe: str, data: str = next(iter(LAYOUTS))) -> Config:
    """Read the config of a cell, with the base of its data that ``data`` names in LAYOUTS."""
    if recipe not in cell.configs:
        raise ConfigError(
            f'it has no config for --recipe {recipe}; choose {" or ".join(cell.configs)}.'
        )
    path = configs / cell.configs[recipe]
    if not path.exists():
        file = f'configs/{cell.configs[recipe]}'
        raise ConfigError(f'{file} does not exist; leave it out by --methods and --pairs.')
    folder, find = configs / '_base_' / 'datasets', Config._get_cfg_path
    name, other = f'{cell.dataset}.py', f'{cell.dataset}{LAYOUTS[data]}.py'
    if other != name and not (folder / other).exists():
        near = near_names(other, sorted(path.name for path in folder.glob('*.py')))
        raise ConfigError(f'--data {data}: configs/_base_/datasets/{other} does not exist; {near}')

    def swapped(base: str, filename: str) -> tuple:
        found, scope = find(base, filename)
        # The other base may itself begin with the first.
        swap = Path(found).name == name and Path(filename).parent.name != folder.name
        return (str(Path(found).with_name(other)) if swap else found), scope

    with patch.object(Config, '_get_cfg_path', staticmethod(swapped)):
        return Config.fromfile(path)


def make_config(
    cfg: Config,
    cell: Cell,
    budget: Budget,
    teacher: Optional[str] = None,
    val_interval: int = 1,
) -> Config:
    """Return what :func:`read_config` read, changed, on its own: no later edit reaches it."""
    cfg = Config(cfg._cfg_dict.to_dict(), filename=cfg.filename)
    if teacher is not None and 'teacher_ckpt' in cfg.model:
        cfg.model.teacher_ckpt = teacher
    cfg.merge_from_dict(dict(cell.changes))
    if cell.kind == 'train':
        if budget.held_out is not None:
            cfg = hold_out(cfg, budget.held_out)
        _apply_budget(cfg, budget)
        validate_every(cfg, val_interval)
        if cell.measured and 'teacher' in cfg.model:
            _add_metrics(cfg, cell)
    for key, _ in budget.options:
        if key.startswith(OWN_KEYS):
            raise ConfigError(
                f'--cfg-options {key}: the runs set this, with --epochs, --val-interval, --seeds '
                f'and --teacher-ckpt; use these.'
            )
    check_options(cfg, dict(budget.options))
    cfg.merge_from_dict(dict(budget.options))
    watcher = metric_watcher(cfg) if cell.kind == 'train' and val_interval > 1 else None
    if watcher:
        raise ConfigError(
            f'--val-interval {val_interval}: {watcher} acts on the metrics of each epoch, so the '
            f'training would be another one; leave the option out.'
        )
    return cfg


def validate_every(cfg: Config, epochs: int) -> None:
    """Have a run validated and saved every some epochs, and after its last."""
    cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = epochs


def identity(cfg: Config) -> str:
    """Name what a run learns, from what and how; not where files lie or how fast they come.

    Nor how often it is validated: a run goes on with any interval.
    """
    return digest({key: map_dicts(_without_places, cfg.get(key)) for key in IDENTITY_KEYS})


def _without_places(part: dict) -> dict:
    kept = {key: value for key, value in part.items() if key not in READING_KEYS}
    if 'val_interval' in kept:
        kept['val_interval'] = 1
    if kept.get('teacher_ckpt'):
        kept['teacher_ckpt'] = Path(str(kept['teacher_ckpt'])).name
    return kept


def _apply_budget(cfg: Config, budget: Budget) -> None:
    """Write epochs and share into a config; have each epoch noted, and the best one kept."""
    if budget.epochs is not None:
        _shrink_schedules(cfg, budget.epochs / cfg.train_cfg.max_epochs)
        cfg.train_cfg.max_epochs = budget.epochs
    if budget.fraction is not None:
        # Of what a validation split leaves, or images of that would be drawn.
        holder = holder_of(cfg.train_dataloader, 'train_dataloader')
        holder.dataset = dict(
            type='mmrazor.class_share', dataset=holder.dataset, share=budget.fraction, seed=0
        )
        shrink_banks(cfg.model, budget.fraction, cfg.data_preprocessor.num_classes)
    hooks = cfg.setdefault('default_hooks', {})
    # A short run keeps every epoch's, from which curves can be drawn.
    keep = dict(max_keep_ckpts=-1 if cfg.train_cfg.max_epochs <= 30 else 2)
    best = dict(by_epoch=True, save_best='accuracy/top1', rule='greater')
    hooks.setdefault('checkpoint', dict(type='CheckpointHook')).update(**keep, **best)
    hooks['epoch_record'] = dict(type='mmrazor.EpochRecordHook')


def _shrink_schedules(cfg: Config, factor: float) -> None:
    """Move what a schedule does at some epoch to the same share of fewer epochs."""
    schedules = cfg.get('param_scheduler') or []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        for key in EPOCH_KEYS if schedule.get('by_epoch', True) else ():
            value = schedule.get(key)
            if isinstance(value, list):
                schedule[key] = [max(1, round(factor * epoch)) for epoch in value]
            elif value:
                schedule[key] = max(1, round(factor * value))


def _add_metrics(cfg: Config, cell: Cell) -> None:
    """Add what is measured for a cell, beside the teacher, to the validation."""
    evaluators = cfg.val_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    present = {evaluator.get('type') for evaluator in evaluators}
    added = [dict(DATA['measured'][name]) for name in cell.measured]
    cfg.val_evaluator = evaluators + [one for one in added if one['type'] not in present]
    hooks = list(cfg.get('custom_hooks') or [])
    hand_over = dict(type='mmrazor.ModelForMetricsHook')
    if hand_over not in [*hooks, *(cfg.get('default_hooks') or {}).values()]:
        cfg.custom_hooks = [*hooks, hand_over]
