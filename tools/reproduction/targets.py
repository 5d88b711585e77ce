"""Which runs a table or a figure needs, and what the paper says: ``targets.yml``, ``paper.yml``."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import yaml

from lakd_mm.errors import ConfigError, near_names

DATA, PAPER = (
    yaml.safe_load(Path(__file__).with_name(name).read_text(encoding='utf-8'))
    for name in ('targets.yml', 'paper.yml')
)
PAIRS = DATA['pairs']
# Keys of a config that say where images lie and how they are read, and change no result.
READING_KEYS = ('data_root', 'num_workers', 'persistent_workers', 'pin_memory')


@dataclass(frozen=True)
class Cell:
    """One place of a table: what is trained, or tested, for it."""

    row: str  # The method or setting.
    column: str  # The pair of networks.
    name: str  # What its runs are called.
    dataset: str  # As configs/_base_/datasets names it.
    configs: dict = field(hash=False)  # Files under configs/ by recipe, the preferred first.
    kind: str = 'train'  # Or 'test' (the teacher, as it is), or 'memory'.
    measured: tuple = ()  # Besides the config's metrics: keys of `measured` in targets.yml.
    changes: tuple = ()  # Of its config, as pairs of dotted key and value.


@dataclass(frozen=True)
class Target:
    """A table or a figure: its cells, row by row, and the metrics that it shows."""

    name: str
    title: str
    rows: list
    columns: list
    cells: tuple
    metrics: tuple

    def published(self, cell: Cell, metric: str) -> Optional[float]:
        """Return the paper's number; None where it has none."""
        numbers = PAPER['numbers'].get(self.name, {}).get(cell.row)
        place = self.columns.index(cell.column) * len(self.metrics) + self.metrics.index(metric)
        return numbers and numbers[place]


@dataclass(frozen=True)
class Budget:
    """How much is trained, and how."""

    recipe: str = '300e'  # LAKD's, or '240e', the literature's.
    epochs: Optional[int] = None  # Instead of the recipe's.
    fraction: Optional[float] = None  # Share of the training images of each class.
    options: tuple = ()  # Changes of the config, as pairs of dotted key and value.
    held_out: Optional[float] = None  # Share of them to validate on instead of the test images.

    @property
    def changes(self) -> tuple:
        """The options that change what is learnt."""
        return tuple(one for one in self.options if one[0].rpartition('.')[2] not in READING_KEYS)

    def slug(self, recipe: str) -> str:
        """Return the name of the folder of its runs, from the recipe's own name."""
        parts = [recipe, self.epochs and f'{self.epochs}e', self.fraction and f'f{self.fraction:g}']
        parts.append(self.held_out and f'h{self.held_out:g}')
        parts.append(self.changes and f'o{digest(self.changes)[:8]}')
        return '-'.join(part for part in parts if part)


def digest(content: Any) -> str:
    """Return a short name of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def label(name: str) -> str:
    """Return what people call a method, setting, pair, metric, recipe, target or figure."""
    return DATA['labels'].get(name, name)


def recipe_name(dataset: str, recipe: str) -> str:
    """Return what ``--recipe`` is called on a data set, such as '100e_step' on ImageNet."""
    return DATA['recipes'].get(dataset, {}).get(recipe, ('', recipe))[1]


def method_cell(method: str, pair: str, dataset: str, row: str = '', **arguments) -> Cell:
    """Return the cell of a method and a pair, with the names that the configs follow."""
    network = dict(zip(('teacher', 'scratch'), PAIRS[pair])).get(method)
    stem = f'teachers/{network}' if network else f'{method}/{method}_{pair}'
    recipes, row = DATA['recipes'][dataset], row or method
    configs = {recipe: f'{stem}{mark}_{dataset}.py' for recipe, (mark, _) in recipes.items()}
    kind = 'test' if method == 'teacher' else 'train'
    return Cell(row, pair, f'{row}_{pair}', dataset, configs, kind, **arguments)


def _cell(row: str, column: str, target: dict) -> Cell:
    """Return the cell of a row and a column of a target in ``targets.yml``."""
    dataset, setting = target['dataset'], target.get('settings', {}).get(row, {})
    config = setting.get('config', target.get('config', '')).format(row=row)
    changes = tuple(setting.get('changes', {}).items())
    more = dict(measured=tuple(target.get('measured', ())), changes=changes)
    if row == 'memory':
        return Cell(row, column, f'{row}_{column}', dataset, {}, 'memory')
    if config:
        name = target.get('name', Path(config).name).format(row=row, column=column)
        return Cell(row, column, name, dataset, {'300e': f'{config}.py'}, **more)
    return method_cell(setting.get('like', row), column, dataset, row, **more)


TARGETS = {
    name: Target(
        name,
        target['title'],
        target['rows'],
        target['columns'],
        tuple(_cell(row, column, target) for row in target['rows'] for column in target['columns']),
        tuple(target.get('metrics', ['accuracy/top1'])),
    )
    for name, target in DATA['targets'].items()
}


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is none of those known."""
    return ConfigError(f'{what} {near_names(name, known)} Known: {", ".join(known)}.')


def find_target(name: str) -> Target:
    """Return the target of that name; a ConfigError if there is none."""
    if name not in TARGETS:
        raise unknown(f'target {name!r}:', name, TARGETS)
    return TARGETS[name]


def select(
    target: Target, rows: Optional[Sequence[str]] = None, columns: Optional[Sequence[str]] = None
) -> list[Cell]:
    """Return the cells of some methods and pairs, or all; a ConfigError for an unknown one."""
    rows, columns = rows or target.rows, columns or target.columns
    options = (('--methods', rows, target.rows), ('--pairs', columns, target.columns))
    for option, chosen, known in options:
        for name in [name for name in chosen if name not in known]:
            raise unknown(f'{option} {name}: {target.name} has none of that name;', name, known)
    return [cell for cell in target.cells if cell.row in rows and cell.column in columns]
