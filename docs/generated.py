"""Pages and tables of the site that are made from the project's files, so that they agree."""

import json
import re
import runpy
from pathlib import Path

import yaml
from tabulate import tabulate

from lakd_mm_cli import catalog, doctor

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAPER = ROOT / 'tools' / 'reproduction' / 'paper.yml'
LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)')


def markdown(rows: list) -> str:
    """Return rows as a Markdown table."""
    return tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)


def rebase(text: str, source: Path, target: Path, pages: dict) -> str:
    """Return a README's text with links that hold where its page is.

    Args:
        text (str): The README's text.
        source (Path): Its folder.
        target (Path): The folder of the page.
        pages (dict): Pages of the site, by the file or folder that they show.
    """

    def replace(match: re.Match) -> str:
        mark, label, link = match.groups()
        if re.match(r'\w+:|#', link):
            return match.group()
        path, _, anchor = link.partition('#')
        found = (source / path).resolve()
        page = pages.get(found) or (found if found.is_relative_to(DOCS) else None)
        if page is None:
            # A file of the code: the site has no page of it.
            name = found.relative_to(ROOT).as_posix()
            return f'{label} (`{name}`)' if label.strip('`') not in name else f'`{name}`'
        up = '../' * len(target.relative_to(DOCS).parts)
        link = up + page.relative_to(DOCS).as_posix()
        return f'{mark}[{label}]({link}{"#" + anchor if anchor else ""})'

    return LINK.sub(replace, text)


def method_pages() -> dict:
    """Return the text of a page for each folder of configs that has a README."""
    readmes = sorted((ROOT / 'configs').glob('*/README.md'))
    pages = {}
    for readme in readmes:
        page = DOCS / 'methods' / f'{readme.parent.name}.md'
        pages.update({readme: page, readme.parent: page})
    entries, texts = catalog.read_configs(), {}
    for readme in readmes:
        name = readme.parent.name
        own = catalog.choose(entries, method=name)
        text = rebase(readme.read_text(encoding='utf-8'), readme.parent, DOCS / 'methods', pages)
        parts = [
            text.rstrip(),
            '## All configs',
            f'From `lakd-mm list configs --method {name}`; parameters are those of the student.',
            markdown(catalog.config_rows(own)),
        ]
        texts[name] = '\n\n'.join(parts) + '\n'
    return texts


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: its texts, and its code in blocks."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    texts = [(cell['cell_type'], ''.join(cell['source'])) for cell in cells]
    return '\n\n'.join(t if kind == 'markdown' else f'```python\n{t}\n```' for kind, t in texts)


def requirement_table() -> str:
    """Return the ranges that the package accepts, and the releases that the tests run on."""
    version = runpy.run_path(str(ROOT / 'lakd_mm' / 'version.py'))
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text(encoding='utf-8').splitlines()
    pins = dict(line.split('==') for line in lines if '==' in line)
    rows = []
    for text in (*version['REQUIREMENTS'], version['MMCV']):
        name, bounds = re.match(r'([\w-]+)(.*)', text).groups()
        rows.append({'package': name, 'accepted': bounds or 'any', 'tests run on': pins[name]})
    return markdown(rows)


def cell_text(checks: dict) -> str:
    """Return what came out of a cell in a few words."""
    failed = [name for name, result in checks.items() if result.startswith('no: ')]
    if failed:
        return f'**no**: {" and ".join(failed)}'
    return f'yes, {checks["pytest"]}' if 'pytest' in checks else 'yes'


def matrix_table(cells: dict) -> str:
    """Return what `tools/dev/matrix.py` found: a table, and the reason of each failure."""
    pythons = sorted({cell['python'] for cell in cells.values()}, key=numbers)
    kinds = {(cell['stack'], cell['torch']) for cell in cells.values()}
    rows, reasons = [], []
    for stack, torch in sorted(kinds, key=lambda kind: (kind[0], numbers(kind[1]))):
        row = {'packages': stack, 'torch': torch}
        for python in pythons:
            cell = cells.get(f'{stack} {python} {torch}')
            row[f'Python {python}'] = cell_text(cell['checks']) if cell else '-'
            for check, result in cell['checks'].items() if cell else ():
                if result.startswith('no: '):
                    where = f'{stack}, torch {torch}, Python {python}, {check}'
                    reasons.append(f'- {where}: `{result[4:]}`')
        rows.append(row)
    return '\n'.join([markdown(rows), '', *reasons])


def rows_of(name: str) -> list:
    """Return the table of `docs/benchmarks/NAME.json`."""
    file = DOCS / 'benchmarks' / f'{name}.json'
    return json.loads(file.read_text(encoding='utf-8'))['rows']


def measured(name: str, column: str) -> dict:
    """Return a column of `docs/benchmarks/NAME.json`, by the training or network of each row."""
    return {next(iter(row.values())): row[column] for row in rows_of(name)}


def cost_table(times: dict, memory: dict, paper: dict) -> str:
    """Return what steps cost, relative to one from scratch in float32.

    Args:
        times (dict): Of a step, by training; ``', bf16'`` ends the names of those in bfloat16.
        memory (dict): Its peak, likewise; empty for no such columns.
        paper (dict): The paper's peaks in GiB.
    """
    columns = {'time': times, 'memory': memory}
    rows = []
    for name in [name for name in times if not name.endswith(', bf16')]:
        row = {'': name}
        for title, values in columns.items():
            for suffix in ('', ', bf16') if values else ():
                found = values.get(name + suffix)
                row[title + suffix] = '' if found is None else f'{found:.2f}'
        if memory:
            share = paper[name] / paper['from scratch'] if name in paper else None
            row["the paper's memory"] = '' if share is None else f'{share:.2f}'
        rows.append(row)
    return markdown(rows)


def numbers(release: str) -> list:
    """Return the numbers of a release, by which releases are sorted."""
    return [int(part) for part in re.findall(r'\d+', release)]


def write() -> None:
    """Write every page and table that is made."""
    folder = DOCS / '_generated'
    folder.mkdir(exist_ok=True)
    pages = method_pages()
    for name, text in pages.items():
        (DOCS / 'methods' / f'{name}.md').write_text(text, encoding='utf-8')
    entries, methods = catalog.read_configs(), catalog.read_methods()
    rows = catalog.method_rows(entries, methods)
    for row in rows:
        row['paper'] = f'<{row["paper"]}>' if row['paper'] else ''
        if row['method'] in pages:
            row['title'] = f'[{row["title"]}](../methods/{row["method"]}.md)'
    parts = {
        'methods': markdown(rows),
        'pairs': markdown(catalog.pair_rows(entries)),
        'requirements': requirement_table(),
        'matrix': matrix_table(
            json.loads((DOCS / 'compatibility_matrix.json').read_text(encoding='utf-8'))
        ),
        'repairs': markdown(
            [{**row, 'what': row['what'].replace('_', r'\_')} for row in doctor.repair_rows()]
        ),
        'costs': cost_table(
            measured('step_time_r56_r20', '/ from scratch'),
            measured('memory_r56_r20', 'live / scratch'),
            yaml.safe_load(PAPER.read_text(encoding='utf-8'))['memory']['r56_r20'],
        ),
        'method_costs': cost_table(measured('step_time_methods', '/ scratch'), {}, {}),
        'latency': markdown(rows_of('latency_r56_r20')),
        'notebook': notebook_page(DOCS / 'tutorials/lakd_in_ten_minutes.ipynb'),
    }
    for name, text in parts.items():
        (folder / f'{name}.md').write_text(text + '\n', encoding='utf-8')
