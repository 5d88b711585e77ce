"""The report of a target, as Markdown and HTML; Figures 1 and 5, by the analysis tools."""

import io
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import matplotlib

from lakd_mm.errors import ConfigError
from lakd_mm.visualization import curves
from lakd_mm.visualization.markdown import html_page, markdown_table

from .results import Section, budget_key, gather, read_collection, sections
from .runs import Run, write_text
from .tables import TOP1, csv_text, joined, mark_note, memory_table, overview, pair_table
from .targets import PAPER, Target, find_target, label

MARKERS = re.compile(r'<!-- results: (\w+) -->\n(.*?)<!-- end results -->', re.DOTALL)


def write_report(target: Target, work_dir: Path, out: Path, replace: bool = False) -> list[Path]:
    """Write Markdown, CSV, HTML and JSON to ``out/<target>``, and return the files."""
    results, folder = gather(target, work_dir, out, replace), out / target.name
    for old in folder.glob('curves-*.svg'):
        old.unlink()
    for section in sections(target, results):
        figure = learning_curves(section)
        if figure is not None:
            write_text(folder / f'curves-{section.budget.slug}.svg', figure)
    text = report_text(target, results, folder)
    files = {'table.md': text, 'table.csv': csv_text(target, results)}
    files['report.html'] = html_page(text, folder)
    for name, content in files.items():
        write_text(folder / name, content)
    return [folder / name for name in (*files, 'results.json')]


def report_text(target: Target, results: Sequence[dict], folder: Path) -> str:
    """Return all that a report says, as Markdown; ``folder`` has its figures."""
    of_paper = 'LAKD, ' if target.name.startswith(('table', 'fig')) else ''
    blocks = [f'# {of_paper}{label(target.name)}: {target.title}']
    if target.name == 'table4':
        blocks += _memory_blocks(results)
    else:
        for section in sections(target, results):
            blocks += [f'## {section.budget.title()}', *_section_blocks(target, section, folder)]
    notes = PAPER['notes'].get(target.name)
    if notes:
        blocks += ["## On the paper's numbers", '\n'.join(f'* {note}' for note in notes)]
    blocks.append(f'Written by `python tools/reproduce.py {target.name} --report-only`.')
    return '\n\n'.join(blocks) + '\n'


def _section_blocks(target: Target, section: Section, folder: Path) -> list[str]:
    note, slug, runs = mark_note(target, section), section.budget.slug, section.results
    columns = section.seen('column')
    blocks = [note] if note else []
    if len(target.columns) > 1:
        blocks.append(f'All pairs: {label(target.metrics[0])} after the last epoch, ours / paper')
        blocks.append(markdown_table(overview(target, section)))
    for column in columns or (target.columns if len(target.columns) == 1 else ()):
        table = pair_table(target, section, column, target.rows)
        blocks += [f'### {label(column)}', markdown_table(table)]
    for pattern in (f'curves-{slug}.svg', f'*-{slug}.png', f'*-{slug}-seed*.png'):
        for path in sorted(folder.glob(pattern)):
            blocks.append(f'![{label(path.name.split("-")[0])}]({path.name})')
    if runs:
        facts, teacher = [ran_on(runs)], joined(runs, 'teacher')
        facts += [f'teachers: {teacher}'] if teacher else []
        if any(len(entry.results) > 1 for entry in section.entries):
            facts.append('± is the standard deviation over seeds (n - 1)')
        commands = dict.fromkeys(run['command'] for run in runs if run.get('command'))
        blocks += [f'{"; ".join(facts)}.', '\n'.join(['```bash', *commands, '```'])]
    return blocks


def ran_on(runs: Sequence[dict]) -> str:
    """Return the hardware, release, data and commit of some runs, in words."""
    runs = [run for run in runs if run['kind'] == 'train'] or runs
    device, threads, torch = (joined(runs, 'hardware', k) for k in ('device', 'threads', 'torch'))
    parts = [device, f'threads a run: {threads}', f'torch {torch}']
    for key in ('data', 'commit'):
        value = joined(runs, key).replace(', with', ' with')
        parts += [f'{key} {value}'] if value else []
    return ', '.join(parts)


def _memory_blocks(results: Sequence[dict]) -> list[str]:
    blocks = []
    for pair in PAPER['memory']:
        runs = [result for result in results if result['cell'] == f'memory_{pair}']
        blocks += [f'## {label(pair)}', markdown_table(memory_table(results, pair))]
        blocks += [f'Batch {run["batch"]}; {ran_on([run])}.' for run in runs]
    return [*blocks, PAPER['memory_note']]


def learning_curves(section: Section) -> Optional[str]:
    """Draw the mean of top-1 after each epoch as SVG; None if no run has two epochs."""
    panels: dict = {}
    for entry in section.entries:
        seeds: dict = {}
        for one in itertools.chain.from_iterable(run['epochs'] for run in entry.results):
            if one['metrics']:
                seeds.setdefault(one['epoch'], []).append(one['metrics'].get(TOP1))
        # Where all seeds were validated, as far as all have a value.
        shared = [one for one in sorted(seeds.items()) if len(one[1]) == len(entry.results)]
        curve = list(itertools.takewhile(lambda one: None not in one[1], shared))
        if len(curve) > 1:
            panel = panels.setdefault(label(entry.cell.column), {})
            epochs, means = zip(*((epoch, statistics.fmean(values)) for epoch, values in curve))
            panel[label(entry.cell.row)] = (list(epochs), list(means))
    if not panels:
        return None
    figure, text = curves(panels, 'epoch', 'top-1 (%)'), io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': 'lakd_mm', 'svg.fonttype': 'none'}):
        figure.savefig(text, format='svg', metadata={'Date': None})
    return text.getvalue()


def fill(text: str, out: Path) -> str:
    """Write the block of each pair of markers in the README's text anew, from the reports."""

    def block(match: re.Match) -> str:
        target = find_target(match[1])
        results = read_collection(target, out)
        blocks = readme_blocks(target, results) if results else ['Not run yet.']
        return '\n\n'.join([f'<!-- results: {match[1]} -->', *blocks, '<!-- end results -->'])

    return MARKERS.sub(block, text)


def update(path: Path, out: Path) -> None:
    """Fill the markers of a file; a ConfigError if there is none."""
    if not path.exists():
        raise ConfigError(f'--readme {path}: there is no such file.')
    text = path.read_text(encoding='utf-8')
    if not MARKERS.search(text):
        raise ConfigError(
            f'--readme {path}: it lacks markers, <!-- results: table1 --> … <!-- end results -->.'
        )
    write_text(path, fill(text, out))


def readme_blocks(target: Target, results: Sequence[dict]) -> list[str]:
    """Return the short form for the README: what was run, and what was not."""
    if target.name == 'table4':
        return _memory_blocks(results)
    blocks = []
    for section in sections(target, results):
        blocks.append(f'**{section.budget.title()}.**')
        columns, rows = section.seen('column'), section.seen('row')
        rows += [e.cell.row for e in section.entries if e.results and e.cell.kind == 'test']
        shown = [row for row in target.rows if row in rows]
        for column in columns:
            table = pair_table(target, section, column, shown)
            table[0][0] = label(column)
            blocks.append(markdown_table(table))
        note = mark_note(target, section)
        blocks += [note] if note and columns else []
        absent = [label(row) for row in target.rows if row not in shown]
        absent += [label(column) for column in target.columns if column not in columns]
        blocks += [f'Not run: {", ".join(absent)}.'] if absent else []
        blocks += [f'On {ran_on(section.results)}.'] if section.results else []
    if target.name in PAPER['numbers']:
        blocks.append(f'[The whole table, curves and notes](docs/results/{target.name}/table.md)')
    return blocks


def make_figures(target: Target, runs: Sequence[Run], work_dir: Path, out: Path) -> list[Path]:
    """Draw a figure into ``work_dir/figures`` and ``out`` for each seed whose runs are finished."""
    names = {'fig1': 'heat_map', 'fig5': 'tap_distances'}
    pictures = []
    for seed in dict.fromkeys(run.seed for run in runs) if target.name in names else ():
        group = [run for run in runs if run.seed == seed and run.cell.kind == 'train']
        results = [run.result() for run in group]
        if not group or None in results:
            continue
        slug = budget_key(results[0]).slug
        picture = work_dir / 'figures' / f'{names[target.name]}-{slug}-seed{seed}.png'
        command = _heat_map(group) if target.name == 'fig1' else _distances(group)
        if command is None:
            print(f'note: no {picture.name}: the last checkpoints of its runs are gone.')
            continue
        copy = out / target.name / picture.name
        for path in (picture, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
        _call([*command, '--out', str(picture)])
        pictures.append(Path(shutil.copy(picture, copy)))
    return pictures


def _heat_map(runs: Sequence[Run]) -> Optional[list[str]]:
    """Return the call for Fig. 1: the teacher's layers against each student's."""
    command = [f'{runs[0].tools}/analysis_tools/cka.py', f'{runs[0].folder}/config.py']
    command.append(runs[0].cfg.model.teacher_ckpt)
    for run in runs:
        checkpoint = run.folder / f'epoch_{run.epochs}.pth'
        if not checkpoint.exists():
            return None
        # The config as MMEngine leaves it with each training.
        command += ['--student', label(run.cell.row), f'{run.folder}/config.py', str(checkpoint)]
    return command


def _distances(runs: Sequence[Run]) -> list[str]:
    """Return the call for Fig. 5: the logs of the runs."""
    named = [['--run', label(run.cell.row), str(run.folder)] for run in runs]
    return [f'{runs[0].tools}/analysis_tools/tap_distances.py', '--source', 'log', *sum(named, [])]


def _call(command: Sequence[str]) -> None:
    """Run a tool, quietly unless it fails."""
    to_pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    env = {**os.environ, 'OMP_WAIT_POLICY': 'passive'}
    done = subprocess.run([sys.executable, *command], env=env, **to_pipe)
    if done.returncode:
        end = '\n'.join(done.stdout.splitlines()[-8:])
        raise ConfigError(f'{Path(command[0]).name} failed:\n{end}')
