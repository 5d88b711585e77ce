"""Results of runs, gathered for a target and grouped by what may be compared."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from lakd_mm.errors import ConfigError

from .paper import published
from .plan import RECIPES, Cell, Target, digest
from .records import NEEDED, VERSION, read_epochs, read_json, read_result, write_json
from .runs import SET_ASIDE

RECIPE_NAMES = {
    '300e': "LAKD's recipe (300 epochs, linear decay, Nesterov)",
    '240e': "the literature's recipe (240 epochs, in steps)",
    '100e': "LAKD's recipe (100 epochs, linear decay, Nesterov)",
    '100e_step': "the literature's recipe (100 epochs, in steps)",
    '30e': "the report's recipe (at most 30 epochs at one learning rate, early stopping)",
}


@dataclass(frozen=True)
class BudgetKey:
    """What runs have in common that may stand side by side.

    Args:
        recipe (str): '300e', '240e', '100e' or '100e_step'.
        epochs (int): Trained.
        recipe_epochs (int): Of the full recipe.
        fraction (float): Share of the training images.
        options (tuple): Changes of the configs, as texts.
        teacher (str): Part of the name of another teacher than the config's.
    """

    recipe: str
    epochs: int
    recipe_epochs: int
    fraction: float
    options: tuple = ()
    teacher: str = ''

    @property
    def short(self) -> bool:
        """Whether less was trained than the recipe says."""
        return self.epochs < self.recipe_epochs or self.fraction < 1

    @property
    def full(self) -> bool:
        """Whether it is the recipe, no more and no less."""
        return self.epochs == self.recipe_epochs and self.fraction == 1 and not self.options

    @property
    def slug(self) -> str:
        """For file names."""
        parts = [self.recipe, f'{self.epochs}e']
        parts += [f'f{self.fraction:g}'] if self.fraction < 1 else []
        if self.options or self.teacher:
            parts.append(digest([self.options, self.teacher])[:8])
        return '-'.join(parts)

    def describe(self) -> str:
        """What was trained, such as '3 of 300 epochs on 10 % of the training images'."""
        words = f'{self.epochs} epochs'
        if self.epochs != self.recipe_epochs:
            words = f'{self.epochs} of {self.recipe_epochs} epochs'
        if self.fraction < 1:
            words += f' on {100 * self.fraction:g} % of the training images'
        changes = [*self.options, *([f'teacher {self.teacher}'] if self.teacher else [])]
        return words + (f', with {", ".join(changes)}' if changes else '')

    def title(self) -> str:
        """For a heading."""
        kind = 'Full recipe' if self.full else 'Short run' if self.short else 'Changed recipe'
        return f'{kind}: {self.describe()}; {RECIPE_NAMES.get(self.recipe, self.recipe)}'


@dataclass
class Entry:
    """A cell of a target under one budget, over its seeds.

    Args:
        cell (Cell): The place.
        results (list): Finished runs, by seed.
    """

    cell: Cell
    results: list

    def values(self, metric: str, which: str = 'last') -> list[float]:
        """A metric of each run, after the last epoch or after the best one by top-1."""
        found = [
            (r['metrics'] if which == 'last' else r['best']['metrics']).get(metric)
            for r in self.results
        ]
        return [value for value in found if value is not None]

    def mean(self, metric: str, which: str = 'last') -> Optional[float]:
        """Mean over seeds; None without runs."""
        values = self.values(metric, which)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str, which: str = 'last') -> Optional[float]:
        """Standard deviation over seeds (of a sample: n - 1); None for fewer than two."""
        values = self.values(metric, which)
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def seeds(self) -> list[int]:
        """Seeds of its runs."""
        return [result['seed'] for result in self.results]


@dataclass
class Section:
    """All cells of a target under one budget."""

    budget: BudgetKey
    entries: list

    def entry(self, row: str, column: str) -> Optional[Entry]:
        """The entry at a place of the table."""
        return next((e for e in self.entries if (e.cell.row, e.cell.column) == (row, column)), None)

    def seen(self, of: str) -> list[str]:
        """Rows, or columns, with a training that was run."""
        found = [getattr(e.cell, of) for e in self.entries if e.results and e.cell.kind == 'train']
        return list(dict.fromkeys(found))


def gather(target: Target, work_dir: Path, out: Path, replace: bool = False) -> dict:
    """Reads all results for a target: those of an earlier report and those of the work folder.

    Args:
        target (Target): The target.
        work_dir (Path): Folder of the runs.
        out (Path): Folder of the reports; ``out/<target>/results.json`` is read.
        replace (bool): Leave out what is not in the work folder.

    Returns:
        dict: ``target`` and ``results``, by the run's id.

    Raises:
        ConfigError: If the earlier file cannot be read.
    """
    names = {(cell.dataset, cell.name) for cell in target.cells}
    found = {} if replace else {result['run']: result for result in read_collection(target, out)}
    for path in _left_by_runs(work_dir, 'result.json'):
        result = read_result(path)
        if result is not None and (result['dataset'], result['cell']) in names:
            found[result['run']] = result
    return dict(
        version=VERSION, target=target.name, results=[found[name] for name in sorted(found)]
    )


def _left_by_runs(work_dir: Path, name: str) -> list[Path]:
    """Files of a name in the folders of runs, but for those that ``--redo`` has set aside."""
    paths = sorted(work_dir.glob(f'*/*/**/{name}'))
    return [path for path in paths if path.parent.suffix != SET_ASIDE]


def read_collection(target: Target, out: Path) -> list[dict]:
    """The results of the last report.

    Raises:
        ConfigError: If the file is there but is none of this program's.
    """
    path = out / target.name / 'results.json'
    if not path.exists():
        return []
    content = read_json(path)
    results = content.get('results') if isinstance(content, dict) else None
    if not isinstance(results, list) or any(not r.keys() >= NEEDED for r in results):
        raise ConfigError(f'{path} cannot be read. Restore it, or leave it out with --replace.')
    return results


def write_collection(collection: dict, out: Path) -> None:
    """Writes ``out/<target>/results.json``."""
    write_json(out / collection['target'] / 'results.json', collection)


def unfinished(target: Target, work_dir: Path) -> Iterator[str]:
    """Runs that have begun but are not done, with how far they are."""
    names = {(cell.dataset, cell.name) for cell in target.cells}
    for path in _left_by_runs(work_dir, 'run.json'):
        folder = path.parent
        parts = folder.relative_to(work_dir).parts
        if parts[:2] not in names or (folder / 'result.json').exists():
            continue
        epochs = len(read_epochs(folder / 'epochs.jsonl'))
        total = (read_json(path) or {}).get('epochs', '?')
        yield f'{"/".join(parts)}: {epochs} of {total} epochs'


def sections(target: Target, results: Sequence[dict]) -> list[Section]:
    """Groups results by budget: full recipes first, then by how much was trained.

    What is no training, such as the teacher's test, stands in each of them, and a training without
    a teacher in those of every teacher. Without any training there is one section with nothing in
    it.
    """
    trained = [result for result in results if result['kind'] == 'train']
    keys = {budget_key(result) for result in trained if not _has_no_teacher(result)}
    alone = {budget_key(result) for result in trained if _has_no_teacher(result)}
    keys |= alone - {replace(key, teacher='') for key in keys}
    keys = keys or {_default_key(target)}
    order = sorted(
        keys,
        key=lambda key: (key.short, not key.full, -key.epochs * key.fraction, str(key)),
    )
    return [
        Section(
            key,
            [
                Entry(
                    cell,
                    _of_cell(cell, key, results),
                )
                for cell in target.cells
            ],
        )
        for key in order
    ]


def _of_cell(cell: Cell, key: BudgetKey, results: Sequence[dict]) -> list[dict]:
    """The results of a cell under a budget, by seed; of a teacher's tests the one that taught."""
    found = [r for r in results if (r['dataset'], r['cell']) == (cell.dataset, cell.name)]
    if cell.kind == 'train':
        found = [
            result
            for result in found
            if budget_key(result) == (replace(key, teacher='') if _has_no_teacher(result) else key)
        ]
        return sorted(found, key=lambda result: result['seed'])
    taught = [r for r in found if key.teacher and r['run'].endswith(f'/{key.teacher}')]
    return sorted(taught or found, key=lambda result: result['finished'])[-1:]


def _has_no_teacher(result: dict) -> bool:
    return 'teacher' in result and result['teacher'] is None


def budget_key(result: dict) -> BudgetKey:
    """The budget of a result."""
    recipes = RECIPES.get(result['dataset'], {})
    _, _, teacher = result['run'].split('/')[2].partition('-teacher_')
    return BudgetKey(
        recipe=recipes.get(result['recipe'], ('', result['recipe']))[1],
        epochs=result['max_epochs'],
        recipe_epochs=result['recipe_epochs'],
        fraction=result['fraction'] or 1.0,
        options=tuple(f'{key}={value}' for key, value in result['options']),
        teacher=teacher,
    )


def _default_key(target: Target) -> BudgetKey:
    cell = next((cell for cell in target.cells if cell.kind == 'train'), target.cells[0])
    recipe = cell.slug('300e')
    epochs = int(recipe.partition('e')[0])
    return BudgetKey(recipe, epochs, epochs, 1.0)


def difference(entry: Entry, target: Target, budget: BudgetKey, metric: str) -> Optional[float]:
    """Ours less the paper's; None where the two may not be compared."""
    ours = entry.mean(metric)
    paper = published(target.name, entry.cell.row, entry.cell.column, metric)
    comparable = entry.cell.kind == 'test' or budget.full
    return ours - paper if comparable and ours is not None and paper is not None else None
