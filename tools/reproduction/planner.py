"""From the options of a call to runs that are known to be able to start."""

import os.path as osp
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS

from lakd_mm.compat.mmengine_whole import fault
from lakd_mm.engine import check_data_folders
from lakd_mm.errors import ConfigError

from .run_config import LAYOUTS, identity, make_config, read_config
from .runs import Run
from .targets import PAIRS, Budget, Cell, recipe_name, unknown


@dataclass
class Settings:
    """What a call says besides its cells."""

    root: Path  # Folder that holds configs/ and tools/.
    work_dir: Path  # Folder of all runs.
    data: str = next(iter(LAYOUTS))  # Which base describes the data.
    teachers: tuple = ()  # Pairs of name and path; the name is empty for any teacher.
    command: str = ''  # The call, for the record.
    val_interval: int = 1  # Epochs from one validation, and checkpoint, to the next.


def plan_runs(
    cells: Sequence[Cell], budget: Budget, seeds: Sequence[int], settings: Settings
) -> list[Run]:
    """Make the runs of some cells; a ConfigError names all that would stop them, a line each."""
    _check_teacher_names(settings.teachers, cells)
    facts = dict(commit=commit(settings.root), command=settings.command)
    # By what is missing, the cells that miss it.
    problems: dict[str, dict] = {}

    def attempt(cell: Cell, function: Callable, *arguments):
        try:
            return function(*arguments)
        except ConfigError as error:
            problems.setdefault(str(error), {})[cell.name] = None

    runs = [
        attempt(cell, _plan_run, cell, budget, seed, settings, facts)
        for seed in seeds
        for cell in cells
        if cell.kind == 'train' or seed == seeds[0]
    ]
    _refuse(problems)
    for run in [run for run in runs if run.cfg is not None and run.seed == seeds[0]]:
        attempt(run.cell, _check, run)
    _refuse(problems)
    return runs


def _refuse(problems: dict[str, dict]) -> None:
    lines = []
    for problem, names in problems.items():
        more = f' and {len(names) - 3} more' if len(names) > 3 else ''
        lines.append(f'{", ".join(list(names)[:3])}{more}: {problem}')
    if lines:
        count = f'{len(lines)} things are missing.\n  ' if len(lines) > 1 else ''
        raise ConfigError(count + '\n  '.join(lines))


def _plan_run(cell: Cell, budget: Budget, seed: int, settings: Settings, facts: dict) -> Run:
    places = dict(work_dir=settings.work_dir, tools=settings.root / 'tools')
    if cell.kind == 'memory':
        device = 'gpu' if torch.cuda.is_available() else 'cpu'
        path = f'{cell.dataset}/{cell.name}/{device}'
        return Run(path, cell, Budget(), 0, None, 1, device, **places, facts=facts)
    configs = settings.root / 'configs'
    if cell.kind == 'test':
        # A teacher is the same for every recipe.
        recipes = (r for r, name in cell.configs.items() if (configs / name).exists())
        options = tuple(one for one in budget.options if one not in budget.changes)
        budget = Budget(next(recipes, budget.recipe), options=options)
    cfg = read_config(configs, cell, budget.recipe, settings.data)
    recipe_epochs = cfg.train_cfg.max_epochs
    if budget.epochs == recipe_epochs:
        budget = replace(budget, epochs=None)
    own = _own_teacher(cfg, cell, configs)
    teacher = _find_teacher(own, cell, settings.teachers)
    cfg = make_config(cfg, cell, budget, teacher, settings.val_interval)
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
    taught = Path(teacher).name if teacher and own else None
    if cell.kind == 'test':
        if teacher is None:
            raise ConfigError('no config of this pair names a teacher to test.')
        path, places['checkpoint'] = Path(teacher).stem, teacher
    else:
        slug = budget.slug(recipe_name(cell.dataset, budget.recipe))
        other = taught and taught != Path(own).name
        path = f'{slug}{f"-teacher_{Path(teacher).stem}" if other else ""}/seed{seed}'
    path = f'{cell.dataset}/{cell.name}/{path}'
    facts = dict(facts, data=settings.data, teacher=taught)
    return Run(path, cell, budget, seed, cfg, recipe_epochs, identity(cfg), **places, facts=facts)


def _own_teacher(cfg: Config, cell: Cell, configs: Path) -> Optional[str]:
    """Return the checkpoint that the config names; for a teacher itself, that of its pair's."""
    if cell.kind != 'test':
        return cfg.model.get('teacher_ckpt')
    for method in ('lakd', 'kd', 'cat_kd'):
        path = configs / method / f'{method}_{cell.column}_{cell.dataset}.py'
        if path.exists():
            return Config.fromfile(path).model.get('teacher_ckpt')
    return None


def teacher_names(cell: Cell) -> list[str]:
    """Return what the teacher of a cell may be called on the command line."""
    if cell.column not in PAIRS:
        return [cell.name]
    teacher = PAIRS[cell.column][0]
    return [f'{cell.column}_{cell.dataset}', cell.column, f'{teacher}_{cell.dataset}', teacher]


def _check_teacher_names(teachers: tuple, cells: Sequence[Cell]) -> None:
    known = list(dict.fromkeys(name for cell in cells for name in teacher_names(cell)))
    for name, path in teachers:
        if name and name not in known:
            what = f'--teacher-ckpt {name}={path}: no run has a teacher of that name;'
            raise unknown(what, name, known)
        if not osp.exists(path) and '://' not in path:
            raise ConfigError(f'--teacher-ckpt {path}: there is no such file.')
        if damage := fault(path):
            raise ConfigError(f'--teacher-ckpt {path}: {damage}; copy or download it again')


def _find_teacher(own: Optional[str], cell: Cell, teachers: tuple) -> Optional[str]:
    """Return a cell's teacher: of the command line (in a folder by its own name), or its own."""
    for name, path in teachers if own else ():
        if name and name not in teacher_names(cell):
            continue
        inside = osp.join(path, osp.basename(own))
        if not osp.isdir(path) or osp.exists(inside):
            return inside if osp.isdir(path) else path
    return own


def _check(run: Run) -> None:
    """Raise if data or the teacher are missing or the networks cannot be built."""
    check_data_folders(run.cfg, ['val'] if run.cell.kind == 'test' else ('train', 'val'))
    teacher = run.checkpoint or run.cfg.model.get('teacher_ckpt')
    if teacher and not osp.exists(teacher):
        _fetch_teacher(run, teacher)
    # The networks are built once, without their weights.
    init_default_scope(run.cfg.get('default_scope') or 'mmpretrain')
    # A copy: MMPretrain writes into what it builds.
    cfg = run.cfg.to_dict()
    model = dict(cfg['model'], **({'teacher_ckpt': None} if 'teacher' in cfg['model'] else {}))
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    try:
        with warnings.catch_warnings(action='ignore'):
            MODELS.build(model)
    except ConfigError:
        raise
    except Exception as error:
        text = str(error).strip().splitlines() or ['']
        raise ConfigError(f'its model cannot be built: {type(error).__name__}: {text[0]}') from None


def _fetch_teacher(run: Run, path: str) -> None:
    """Download a teacher that has an address, once; raise for another."""
    if '://' in path:
        CheckpointLoader.load_checkpoint(path, map_location='cpu')
        return
    name = teacher_names(run.cell)[-2 if run.cell.column in PAIRS else 0]
    root = run.tools.parent
    config = next((root / 'configs').rglob(f'{Path(path).parent.name}.py'), None)
    how = config and f'Train it, python tools/train.py {config.relative_to(root)}, or name'
    advice = f'{how or "Name"} another: --teacher-ckpt {name}=PATH'
    raise ConfigError(f'the teacher {path} does not exist. {advice}')


def commit(root: Path) -> Optional[str]:
    """Return the commit of the checkout, marked where files differ; None outside of one."""

    def git(*words: str) -> str:
        command = ['git', '-C', str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        top, named = git('rev-parse', '--show-toplevel', '--short', 'HEAD').splitlines()
        code = ('lakd_mm', 'configs', 'tools')
        changed = git('status', '--porcelain', '--untracked-files=no', *code)
    except (OSError, subprocess.CalledProcessError):
        return None
    if Path(top).resolve() != root.resolve():
        # Installed below a checkout of something else.
        return None
    return f'{named} with changes' if changed else named
