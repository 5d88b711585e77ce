"""The report of a target: what it says, and the files that it is written to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from .collect import Section, gather, read_collection, sections, write_collection
from .curves import learning_curves
from .labels import column_label, metric_label, row_label, target_title
from .paper import MEMORY, NOTES, PAPER
from .plan import Target
from .records import write_text
from .rendering import Block, to_html, to_markdown
from .tables import joined, mark_note, memory_csv, memory_table, overview, pair_table, to_csv


def write_report(target: Target, work_dir: Path, out: Path, replace: bool = False) -> list[Path]:
    """Gathers the results of a target and writes Markdown, CSV, HTML and JSON.

    Args:
        target (Target): The target.
        work_dir (Path): Folder of the runs.
        out (Path): Folder of the reports; the files go to ``out/<target>``.
        replace (bool): Leave out results of an earlier report that the work folder does not have.

    Returns:
        List[Path]: The files.
    """
    write_collection(gather(target, work_dir, out, replace), out)
    folder = out / target.name
    results = read_collection(target, out)
    groups = sections(target, results)
    for old in folder.glob('curves-*.svg'):
        old.unlink()
    for section in groups:
        figure = learning_curves(section)
        if figure is not None:
            write_text(folder / f'curves-{section.budget.slug}.svg', figure)
    blocks = report_blocks(target, results, folder)
    write_text(folder / 'table.md', to_markdown(blocks))
    write_text(folder / 'table.csv', csv_text(target, results))
    write_text(folder / 'report.html', to_html(blocks, folder))
    return [folder / name for name in ('table.md', 'table.csv', 'report.html', 'results.json')]


def csv_text(target: Target, results: Sequence[dict]) -> str:
    """All numbers as comma-separated values."""
    if target.name == 'table4':
        return memory_csv(results)
    return to_csv(target, sections(target, results))


def report_blocks(target: Target, results: Sequence[dict], folder: Path) -> list[Block]:
    """All that a report says, in order."""
    blocks = [Block('h1', f'LAKD, {target_title(target.name, target.title)}')]
    groups = sections(target, results)
    if target.name == 'table4':
        blocks += _memory_blocks(results)
        groups = []
    for section in groups:
        blocks.append(Block('h2', section.budget.title()))
        blocks += _section_blocks(target, section, results, folder)
    if NOTES.get(target.name):
        blocks.append(Block('h2', "On the paper's numbers"))
        blocks.append(Block('list', NOTES[target.name]))
    command = f'python tools/reproduce.py {target.name} --report-only'
    blocks.append(Block('p', f'Written by `{command}`.'))
    return blocks


def _section_blocks(
    target: Target, section: Section, results: Sequence[dict], folder: Path
) -> list[Block]:
    blocks = []
    note = mark_note(target, section)
    if note:
        blocks.append(Block('note', note))
    columns = section.seen('column')
    if len(target.columns) > 1:
        text = f'All pairs: {metric_label(target.metrics[0])} after the last epoch'
        blocks.append(Block('p', f'{text}, ours / paper'))
        blocks.append(Block('table', overview(target, section)))
    elif not columns:
        columns = target.columns
    for column in columns:
        blocks.append(Block('h3', column_label(column)))
        blocks.append(Block('table', pair_table(target, section, column, target.rows)))
    slug = section.budget.slug
    for pattern in (f'curves-{slug}.svg', f'*-{slug}.png', f'*-{slug}-seed*.png'):
        for path in sorted(folder.glob(pattern)):
            blocks.append(Block('figure', path.name))
    blocks += _facts(section)
    return blocks


def _facts(section: Section) -> list[Block]:
    """What the runs of a section ran on, and the calls that made them."""
    runs = [result for entry in section.entries for result in entry.results]
    if not runs:
        return []
    facts = [ran_on(runs)]
    teacher = joined(runs, 'teacher')
    if teacher:
        facts.append(f'teachers: {teacher}')
    if any(len(entry.results) > 1 for entry in section.entries):
        facts.append('± is the standard deviation over seeds (n - 1)')
    commands = list(dict.fromkeys(run['command'] for run in runs if run.get('command')))
    return [Block('p', '; '.join(facts) + '.'), Block('code', '\n'.join(commands))]


def ran_on(runs: Sequence[dict]) -> str:
    """Hardware, release, data and commit of some runs, in words."""
    runs = [run for run in runs if run['kind'] == 'train'] or runs
    parts = [
        joined(runs, 'hardware', 'device'),
        f'threads a run: {joined(runs, "hardware", "threads")}',
        f'torch {joined(runs, "hardware", "torch")}',
    ]
    data, commit = joined(runs, 'data'), joined(runs, 'commit').replace(', with', ' with')
    parts += [f'data {data}'] if data else []
    parts += [f'commit {commit}'] if commit else []
    return ', '.join(parts)


def _memory_blocks(results: Sequence[dict]) -> list[Block]:
    blocks = []
    for pair in MEMORY:
        runs = [result for result in results if result['cell'] == f'memory_{pair}']
        blocks.append(Block('h2', column_label(pair)))
        blocks.append(Block('table', memory_table(runs, pair)))
        for run in runs:
            blocks.append(Block('p', f'Batch {run["batch"]}; {ran_on([run])}.'))
    blocks.append(
        Block(
            'p',
            'live: the peak of live tensors that a step makes (CPU); allocated, reserved: peaks '
            "of PyTorch's allocator (GPU). The paper's are of a GPU and count everything, so only "
            'the shares can be set side by side.',
        )
    )
    return blocks


def readme_blocks(target: Target, results: Sequence[dict], link: Optional[str]) -> list[Block]:
    """The short form for the README: what was run, and what was not.

    Args:
        target (Target): The target.
        results (Sequence[dict]): Its results.
        link (str, optional): Where the whole report is.
    """
    blocks = []
    if target.name == 'table4':
        return _memory_blocks(results)
    for section in sections(target, results):
        blocks.append(Block('p', f'**{section.budget.title()}.**'))
        columns, rows = section.seen('column'), section.seen('row')
        tested = [e.cell.row for e in section.entries if e.results and e.cell.kind == 'test']
        shown = [row for row in target.rows if row in rows + tested]
        for column in columns:
            table = pair_table(target, section, column, shown)
            table[0][0] = column_label(column)
            blocks.append(Block('table', table))
        note = mark_note(target, section)
        if note and columns:
            blocks.append(Block('p', note))
        missing = [row_label(row) for row in target.rows if row not in shown]
        others = [column_label(column) for column in target.columns if column not in columns]
        absent = ', '.join(missing + others)
        if absent:
            blocks.append(Block('p', f'Not run: {absent}.'))
        runs = [run for entry in section.entries for run in entry.results]
        if runs:
            blocks.append(Block('p', f'On {ran_on(runs)}.'))
    if target.name in PAPER and link:
        blocks.append(Block('p', f'[The whole table, curves and notes]({link})'))
    return blocks
