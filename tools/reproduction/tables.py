"""Tables of a target: ours beside the paper's."""

import csv
import io
from collections.abc import Sequence
from typing import Optional

from .progress import duration
from .results import FULL, KINDS, Entry, Section, sections
from .targets import PAPER, Target, label

NOT_RUN = 'not run'
TOP1 = 'accuracy/top1'


def our_number(entry: Entry, metric: str, which: str = 'last') -> str:
    """Return a number of ours, marked unless it is the full recipe's; 'not run' without one."""
    value, deviation = entry.over_seeds(metric, which)
    if value is None:
        return NOT_RUN
    spread = '' if deviation is None else f' ± {deviation:.2f}'
    return f'{value:.2f}{spread}{KINDS[entry.budget.kind] if entry.cell.kind == "train" else ""}'


def papers_number(target: Target, entry: Entry, metric: str) -> str:
    """Return the paper's number, or a dash."""
    paper = target.published(entry.cell, metric)
    return '–' if paper is None else f'{paper:.2f}'


def mark_note(target: Target, section: Section) -> Optional[str]:
    """Return what the mark means."""
    budget = section.budget
    if budget.kind == FULL:
        return None
    note = f'{KINDS[budget.kind]} {budget.kind}: {budget.describe()}.'
    if target.name not in PAPER['numbers']:
        return note
    return f"{note} The paper's numbers are of full trainings: the two may not be compared."


def lines_of(rows: Sequence[dict]) -> list[list]:
    """Return a table, a row for each dict, below their keys."""
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def pair_table(target: Target, section: Section, column: str, rows: Sequence[str]) -> list[list]:
    """Return one pair: a line a method; last and best epoch, the paper's, seeds and time."""
    in_paper, best = target.name in PAPER['numbers'], section.budget.epochs > 1
    paper = 'paper' if section.budget.kind == FULL else "paper's full training"
    lines = []
    for entry in [section.entry(row, column) for row in rows]:
        line = {'method': label(entry.cell.row)}
        for metric in target.metrics:
            line[f'{label(metric)}, last epoch'] = our_number(entry, metric)
            if metric == TOP1 and best:
                line['best epoch'] = _best(entry)
            if in_paper:
                line[f'{label(metric)}, {paper}'] = papers_number(target, entry, metric)
        line['seeds'], line['time of a run'] = _seeds_and_time(entry)
        lines.append(line)
    return lines_of(lines)


def _best(entry: Entry) -> str:
    """Return the accuracy at the best epoch, and which one where there is one run."""
    if not entry.results or entry.cell.kind != 'train':
        return '' if entry.results else NOT_RUN
    epochs = [result['best']['epoch'] for result in entry.results]
    return our_number(entry, TOP1, 'best') + (f' (epoch {epochs[0]})' if len(epochs) == 1 else '')


def _seeds_and_time(entry: Entry) -> list[str]:
    if not entry.results or entry.cell.kind != 'train':
        return ['tested' if entry.results else '', '']
    seconds = [result['seconds'] for result in entry.results]
    seeds = ', '.join(str(result['seed']) for result in entry.results)
    return [seeds, duration(sum(seconds) / len(seconds))]


def overview(target: Target, section: Section) -> list[list]:
    """Return all pairs: 'ours / paper' by the target's first metric; a line a method."""

    def both(entry: Entry) -> str:
        metric = target.metrics[0]
        return f'{our_number(entry, metric)} / {papers_number(target, entry, metric)}'

    entries = [[section.entry(row, column) for column in target.columns] for row in target.rows]
    lines = [[label(row[0].cell.row), *map(both, row)] for row in entries]
    return [['method', *map(label, target.columns)], *lines]


def memory_table(results: Sequence[dict], pair: str) -> list[list]:
    """Return Table 4 for a pair: what was measured, and the paper's, each against its scratch."""
    paper = PAPER['memory'][pair]
    measured: dict = {}
    for run in [result for result in results if result['cell'] == f'memory_{pair}']:
        for row in run['rows']:
            measured.setdefault(row['training'], {}).update(row)
    keys = dict.fromkeys(key for row in measured.values() for key in row)
    lines = []
    for name in dict.fromkeys([*measured, *paper]):
        row, known = measured.get(name, {}), paper.get(name)
        line = {'training': name}
        for kind in [key.removesuffix(' GiB') for key in keys if key.endswith(' GiB')]:
            there = f'{kind} GiB' in row
            line[f'{kind} (GiB)'] = f'{row[f"{kind} GiB"]:.3f}' if there else NOT_RUN
            line[f'{kind} / scratch'] = f'{row[f"{kind} / scratch"]:.2f}' if there else NOT_RUN
        line['paper (GB)'] = f'{known:.3f}' if known else ''
        line['paper / scratch'] = f'{known / paper["from scratch"]:.2f}' if known else ''
        lines.append(line)
    return lines_of(lines)


def csv_text(target: Target, results: Sequence[dict]) -> str:
    """Return everything as comma-separated values: a line for each cell, budget and metric."""
    if target.name == 'table4':
        tables = {pair: memory_table(results, pair) for pair in PAPER['memory']}
        lines = [['pair', *next(iter(tables.values()))[0]]]
        lines += [[pair, *line] for pair, table in tables.items() for line in table[1:]]
    else:
        entries = [entry for section in sections(target, results) for entry in section.entries]
        rows = [_csv_row(target, entry, metric) for entry in entries for metric in target.metrics]
        lines = lines_of(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()


def _csv_row(target: Target, entry: Entry, metric: str) -> dict:
    cell, budget, results = entry.cell, entry.budget, entry.results
    complete = budget.kind == FULL or cell.kind != 'train'
    last, best = entry.over_seeds(metric), entry.over_seeds(metric, 'best')
    paper = target.published(cell, metric)
    comparable = complete and last[0] is not None and paper is not None
    seconds = [result['seconds'] for result in results]
    status = ('complete' if complete else budget.kind) if results else NOT_RUN
    row = dict(target=target.name, dataset=cell.dataset, pair=cell.column, method=cell.row)
    row.update(status=status, recipe=budget.recipe, epochs=budget.epochs)
    row.update(recipe_epochs=budget.recipe_epochs, fraction=budget.fraction)
    row.update(held_out=budget.held_out or '', options='; '.join(budget.options), metric=metric)
    row.update(mean_last_epoch=last[0], std_last_epoch=last[1])
    row.update(mean_best_epoch=best[0], std_best_epoch=best[1])
    row['best_epochs'] = ' '.join(str(result['best']['epoch']) for result in results)
    row.update(paper=paper, ours_minus_paper=last[0] - paper if comparable else None)
    row['seeds'] = ' '.join(str(result['seed']) for result in results)
    row['seconds_mean'] = round(sum(seconds) / len(seconds), 1) if seconds else ''
    row.update((key, joined(results, 'hardware', key)) for key in ('device', 'threads', 'torch'))
    row.update((key, joined(results, key)) for key in ('commit', 'data', 'teacher', 'command'))
    # The writer leaves None empty.
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}


def joined(results: Sequence[dict], *keys: str) -> str:
    """Return what results say under some keys: a value, or the different ones."""
    found = {}
    for result in results:
        for key in keys:
            result = result.get(key) if isinstance(result, dict) else None
        if result is not None:
            found[str(result)] = None
    return '; '.join(found)
