"""Tables of a target: ours beside the paper's."""

import csv
import io
from collections.abc import Sequence
from typing import Optional

from .collect import Entry, Section, difference
from .labels import column_label, metric_label, row_label
from .paper import MEMORY, PAPER, published
from .plan import Target
from .progress import duration

NOT_RUN = 'not run'
# Stands at every number of a run that is not the full recipe.
SHORT_MARK = '†'
CHANGED_MARK = '‡'
TOP1 = 'accuracy/top1'


def number(entry: Optional[Entry], section: Section, metric: str, which: str = 'last') -> str:
    """A number of ours, marked unless it is the full recipe's; 'not run' where there is none."""
    value = entry.mean(metric, which) if entry else None
    if value is None:
        return NOT_RUN
    deviation = entry.deviation(metric, which)
    spread = '' if deviation is None else f' ± {deviation:.2f}'
    return f'{value:.2f}{spread}{mark(entry, section)}'


def mark(entry: Entry, section: Section) -> str:
    """The mark of a number."""
    if entry.cell.kind != 'train' or section.budget.full:
        return ''
    return SHORT_MARK if section.budget.short else CHANGED_MARK


def mark_note(target: Target, section: Section) -> Optional[str]:
    """What the mark means."""
    if section.budget.full:
        return None
    sign = SHORT_MARK if section.budget.short else CHANGED_MARK
    kind = 'short run' if section.budget.short else 'changed recipe'
    note = f'{sign} {kind}: {section.budget.describe()}.'
    if target.name not in PAPER:
        return note
    return f"{note} The paper's numbers are of full trainings: the two may not be compared."


def pair_table(target: Target, section: Section, column: str, rows: Sequence[str]) -> list[list]:
    """One pair: a line a method; last and best epoch, the paper's, seeds and time.

    Returns:
        List[List[str]]: Lines of cells, the header first.
    """
    in_paper = target.name in PAPER
    best = section.budget.epochs > 1
    header = ['method']
    for metric in target.metrics:
        header.append(f'{metric_label(metric)}, last epoch')
        header += ['best epoch'] if metric == TOP1 and best else []
        paper = 'paper' if section.budget.full else "paper's full training"
        header += [f'{metric_label(metric)}, {paper}'] if in_paper else []
    header += ['seeds', 'time of a run']
    lines = [header]
    for row in rows:
        entry = section.entry(row, column)
        if entry is None:
            continue
        line = [row_label(row)]
        for metric in target.metrics:
            line.append(number(entry, section, metric))
            if metric == TOP1 and best:
                line.append(_best(entry, section))
            if in_paper:
                paper = published(target.name, row, column, metric)
                line.append('–' if paper is None else f'{paper:.2f}')
        lines.append([*line, _seeds(entry), _time(entry)])
    return lines


def _best(entry: Entry, section: Section) -> str:
    """Accuracy at the best epoch, and which one where there is one run."""
    if not entry.results or entry.cell.kind != 'train':
        return '' if entry.results else NOT_RUN
    text = number(entry, section, TOP1, 'best')
    epochs = [result['best']['epoch'] for result in entry.results]
    return f'{text} (epoch {epochs[0]})' if len(epochs) == 1 else text


def _seeds(entry: Entry) -> str:
    if not entry.results:
        return ''
    return ', '.join(map(str, entry.seeds)) if entry.cell.kind == 'train' else 'tested'


def _time(entry: Entry) -> str:
    seconds = [result['seconds'] for result in entry.results]
    if not seconds or entry.cell.kind != 'train':
        return ''
    return duration(sum(seconds) / len(seconds))


def overview(target: Target, section: Section) -> list[list]:
    """All pairs: 'ours / paper' by the target's first metric; a line a method."""
    metric = target.metrics[0]
    lines = [['method', *map(column_label, target.columns)]]
    for row in target.rows:
        line = [row_label(row)]
        for column in target.columns:
            ours = number(section.entry(row, column), section, metric)
            paper = published(target.name, row, column, metric)
            line.append(f'{ours} / {"–" if paper is None else f"{paper:.2f}"}')
        lines.append(line)
    return lines


def memory_table(results: Sequence[dict], pair: str) -> list[list]:
    """Table 4 for a pair: what was measured, and the paper's, each against its own scratch."""
    paper = MEMORY[pair]
    measured: dict = {}
    for result in results:
        for row in result['rows']:
            measured.setdefault(row['training'], {}).update(row)
    kinds = list(
        dict.fromkeys(key for row in measured.values() for key in row if key.endswith(' GiB'))
    )
    header = ['training']
    for kind in kinds:
        name = kind[: -len(' GiB')]
        header += [f'{name} (GiB)', f'{name} / scratch']
    lines = [[*header, 'paper (GB)', 'paper / scratch']]
    for name in dict.fromkeys([*measured, *paper]):
        row = measured.get(name, {})
        line = [name]
        for kind in kinds:
            share = f'{kind[: -len(" GiB")]} / scratch'
            there = kind in row
            line += [f'{row[kind]:.3f}', f'{row[share]:.2f}'] if there else [NOT_RUN, NOT_RUN]
        known = paper.get(name)
        beside = [f'{known:.3f}', f'{known / paper["from scratch"]:.2f}'] if known else ['', '']
        lines.append([*line, *beside])
    return lines


CSV_HEADER = [
    'target', 'dataset', 'pair', 'method', 'status', 'recipe', 'epochs', 'recipe_epochs',
    'fraction', 'options', 'metric', 'mean_last_epoch', 'std_last_epoch', 'mean_best_epoch',
    'std_best_epoch', 'best_epochs', 'paper', 'ours_minus_paper', 'seeds', 'seconds_mean',
    'device', 'threads', 'torch', 'commit', 'data', 'teacher', 'command',
]  # fmt: skip


def to_csv(target: Target, sections: Sequence[Section]) -> str:
    """Everything as comma-separated values: a line for each cell, budget and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(CSV_HEADER)
    for section in sections:
        for entry in section.entries:
            for metric in target.metrics:
                writer.writerow(_csv_line(target, section, entry, metric))
    return text.getvalue()


def memory_csv(results: Sequence[dict]) -> str:
    """Table 4 as comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    for index, pair in enumerate(MEMORY):
        found = [result for result in results if result['cell'] == f'memory_{pair}']
        header, *lines = memory_table(found, pair)
        if not index:
            writer.writerow(['pair', *header])
        writer.writerows([pair, *line] for line in lines)
    return text.getvalue()


def _csv_line(target: Target, section: Section, entry: Entry, metric: str) -> list:
    cell, budget = entry.cell, section.budget
    status = NOT_RUN
    if entry.results:
        changed = 'short run' if budget.short else 'changed recipe'
        status = 'complete' if budget.full or cell.kind != 'train' else changed
    gap = difference(entry, target, budget, metric)
    results = entry.results
    numbers = [
        entry.mean(metric),
        entry.deviation(metric),
        entry.mean(metric, 'best'),
        entry.deviation(metric, 'best'),
    ]
    return [
        target.name,
        cell.dataset,
        cell.column,
        cell.row,
        status,
        budget.recipe,
        budget.epochs,
        budget.recipe_epochs,
        budget.fraction,
        '; '.join(budget.options),
        metric,
        *('' if value is None else round(value, 4) for value in numbers),
        ' '.join(str(result['best']['epoch']) for result in results),
        _or_empty(published(target.name, cell.row, cell.column, metric)),
        '' if gap is None else round(gap, 4),
        ' '.join(map(str, entry.seeds)),
        round(sum(r['seconds'] for r in results) / len(results), 1) if results else '',
        *(joined(results, 'hardware', key) for key in ('device', 'threads', 'torch')),
        *(joined(results, key) for key in ('commit', 'data', 'teacher', 'command')),
    ]


def _or_empty(value: Optional[float]) -> object:
    return '' if value is None else value


def joined(results: Sequence[dict], *keys: str) -> str:
    """What results say under some keys: a value, or the different ones."""
    found = []
    for result in results:
        for key in keys:
            result = result.get(key) if isinstance(result, dict) else None
        if result is not None and str(result) not in found:
            found.append(str(result))
    return '; '.join(found)
