"""Results of runs, gathered for a target and grouped by what may be compared."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Optional

from lakd_mm.engine.hooks.epoch_record_hook import read_epochs
from lakd_mm.errors import ConfigError

from .runs import NEEDED, SET_ASIDE, VERSION, read_json, read_result, write_json
from .targets import Cell, Target, digest, label, recipe_name

# Marks of the numbers of each kind of run.
FULL = 'full recipe'
KINDS = {FULL: '', 'changed recipe': '‡', 'short run': '†'}


@dataclass(frozen=True)
class BudgetKey:
    """What runs have in common that may stand side by side."""

    recipe: str  # '300e', '240e', '100e' or '100e_step'.
    epochs: int  # Trained.
    recipe_epochs: int
    fraction: float = 1.0  # Of the training images.
    options: tuple = ()  # Changes of the configs, as texts.
    teacher: str = ''  # Part of the name of another teacher than the config's.
    held_out: float = 0.0  # Share of the training images that measures instead of the test images.

    @property
    def kind(self) -> str:
        """Which of KINDS."""
        if self.epochs < self.recipe_epochs or self.fraction < 1 or self.held_out:
            return 'short run'
        changed = self.options or self.epochs > self.recipe_epochs
        return 'changed recipe' if changed else FULL

    @property
    def slug(self) -> str:
        """Its name in those of files."""
        other = digest([self.options, self.teacher])[:8] if self.options or self.teacher else ''
        share = f'f{self.fraction:g}' if self.fraction < 1 else ''
        held_out = f'h{self.held_out:g}' if self.held_out else ''
        return '-'.join(filter(None, [self.recipe, f'{self.epochs}e', share, held_out, other]))

    def describe(self) -> str:
        """Return what was trained, such as '3 of 300 epochs on 10 % of the training images'."""
        of = '' if self.epochs == self.recipe_epochs else f' of {self.recipe_epochs}'
        share = f' on {100 * self.fraction:g} % of the training images' if self.fraction < 1 else ''
        if self.held_out:
            share += f', measured on {100 * self.held_out:g} % of the training images, held out'
        changes = [*self.options, *([f'teacher {self.teacher}'] if self.teacher else [])]
        changes = f', with {", ".join(changes)}' if changes else ''
        return f'{self.epochs}{of} epochs{share}{changes}'

    def title(self) -> str:
        """Return a heading."""
        return f'{self.kind.capitalize()}: {self.describe()}; {label(self.recipe)}'


@dataclass
class Entry:
    """A cell of a target under one budget: its finished runs, by seed."""

    cell: Cell
    budget: BudgetKey
    results: list

    def over_seeds(self, metric: str, which: str = 'last') -> tuple:
        """Return mean and deviation (of a sample: n - 1), after the 'last' or the 'best' epoch."""
        found = [(r if which == 'last' else r['best'])['metrics'].get(metric) for r in self.results]
        values = [value for value in found if value is not None]
        mean = statistics.fmean(values) if values else None
        return mean, statistics.stdev(values) if len(values) > 1 else None


@dataclass
class Section:
    """All cells of a target under one budget."""

    budget: BudgetKey
    entries: list

    def entry(self, row: str, column: str) -> Optional[Entry]:
        """Return the entry at a place of the table."""
        return next((e for e in self.entries if (e.cell.row, e.cell.column) == (row, column)), None)

    def seen(self, of: str) -> list[str]:
        """Return the rows, or columns, with a training that was run."""
        found = [getattr(e.cell, of) for e in self.entries if e.results and e.cell.kind == 'train']
        return list(dict.fromkeys(found))

    @property
    def results(self) -> list[dict]:
        """The results of all its entries."""
        return [result for entry in self.entries for result in entry.results]


def gather(target: Target, work_dir: Path, out: Path, replace: bool = False) -> list[dict]:
    """Add the results of the work folder to ``out/<target>/results.json``, and return them all.

    With ``replace``, what is not in the work folder is left out.
    """
    found = {} if replace else {result['run']: result for result in read_collection(target, out)}
    for path in _left_by_runs(target, work_dir, 'result.json'):
        result = read_result(path)
        if result is not None:
            found[result['run']] = result
    results = [found[name] for name in sorted(found)]
    content = dict(version=VERSION, target=target.name, results=results)
    write_json(out / target.name / 'results.json', content)
    return results


def _left_by_runs(target: Target, work_dir: Path, name: str) -> list[Path]:
    """Return files of a name in the folders of runs, but for those that --redo has set aside."""
    cells = {(cell.dataset, cell.name) for cell in target.cells}
    paths = [path for path in work_dir.glob(f'*/*/**/{name}') if path.parent.suffix != SET_ASIDE]
    return sorted(path for path in paths if path.relative_to(work_dir).parts[:2] in cells)


def read_collection(target: Target, out: Path) -> list[dict]:
    """Read the results of the last report; a ConfigError if the file is none of ours."""
    path = out / target.name / 'results.json'
    if not path.exists():
        return []
    content = read_json(path)
    results = content.get('results') if isinstance(content, dict) else None
    if not isinstance(results, list) or any(not r.keys() >= NEEDED for r in results):
        raise ConfigError(f'{path} cannot be read. Restore it, or leave it out with --replace.')
    return results


def unfinished(target: Target, work_dir: Path) -> Iterator[str]:
    """Name the runs that have begun but are not done, with how far they are."""
    for path in _left_by_runs(target, work_dir, 'run.json'):
        if not (path.parent / 'result.json').exists():
            epochs = len(read_epochs(path.parent / 'epochs.jsonl'))
            total = (read_json(path) or {}).get('epochs', '?')
            yield f'{path.parent.relative_to(work_dir).as_posix()}: {epochs} of {total} epochs'


def sections(target: Target, results: Sequence[dict]) -> list[Section]:
    """Group results by budget: full recipes first, then by how much was trained.

    What is no training, such as the teacher's test, stands in each of them, and a training without
    a teacher in those of every teacher. Without any training there is one, empty section.
    """
    trained = [result for result in results if result['kind'] == 'train']
    keys = {budget_key(result) for result in trained if not _has_no_teacher(result)}
    alone = {budget_key(result) for result in trained if _has_no_teacher(result)}
    keys |= alone - {changed(key, teacher='') for key in keys}
    if not keys:
        recipe = recipe_name(target.cells[-1].dataset, '300e')
        keys = {BudgetKey(recipe, *[int(recipe.partition('e')[0])] * 2)}
    kinds = list(KINDS)
    return [
        Section(key, [Entry(cell, key, _of_cell(cell, key, results)) for cell in target.cells])
        for key in sorted(keys, key=lambda k: (kinds.index(k.kind), -k.epochs * k.fraction, str(k)))
    ]


def _of_cell(cell: Cell, key: BudgetKey, results: Sequence[dict]) -> list[dict]:
    """Return a cell's results under a budget, by seed; of a teacher's tests that which taught."""
    found = [r for r in results if (r['dataset'], r['cell']) == (cell.dataset, cell.name)]
    if cell.kind == 'train':
        alone = changed(key, teacher='')
        found = [r for r in found if budget_key(r) == (alone if _has_no_teacher(r) else key)]
        return sorted(found, key=lambda result: result['seed'])
    if key.held_out:
        return []
    taught = [r for r in found if key.teacher and r['run'].endswith(f'/{key.teacher}')]
    return sorted(taught or found, key=lambda result: result['finished'])[-1:]


def _has_no_teacher(result: dict) -> bool:
    return 'teacher' in result and result['teacher'] is None


def budget_key(result: dict) -> BudgetKey:
    """Return the budget of a result."""
    recipe = recipe_name(result['dataset'], result['recipe'])
    options = tuple(f'{key}={value}' for key, value in result['options'])
    teacher = result['run'].split('/')[2].partition('-teacher_')[2]
    epochs, fraction = (result['max_epochs'], result['recipe_epochs']), result['fraction'] or 1.0
    return BudgetKey(recipe, *epochs, fraction, options, teacher, result.get('held_out') or 0.0)
