"""Tables as Markdown, and Markdown as one HTML file."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from tabulate import DataRow, TableFormat, tabulate

_ROW = DataRow('| ', ' | ', ' |')
# As narrow as can be: in files, a changed number changes no other line.
_NARROW = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, alignments: '|' + '---|' * len(widths),
    linebetweenrows=None,
    linebelow=None,
    headerrow=_ROW,
    datarow=_ROW,
    padding=0,
    with_header_hide=None,
)


def markdown_table(lines: Sequence[Sequence[object]], aligned: bool = False) -> str:
    """Return a Markdown table of lines of cells, the header first.

    Args:
        lines (Sequence[Sequence[object]]): Cells are written as ``str`` writes them.
        aligned (bool): For a terminal: pad columns to one width, numbers (all but the first column)
            to the right.
    """
    return tabulate(
        lines[1:],
        headers=lines[0],
        tablefmt='github' if aligned else _NARROW,
        disable_numparse=True,
        colalign=['left', *['right'] * (len(lines[0]) - 1)] if aligned else None,
        stralign=None,
        numalign=None,
    )


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2024; background: #fff;
  max-width: 70rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin-bottom: .25rem; }
h2 { font-size: 1.2rem; margin-top: 2.25rem; border-bottom: 1px solid #d8dce0;
  padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e6e9ec;
  white-space: nowrap; }
th { background: #f3f5f7; font-weight: 600; border-bottom: 2px solid #cfd5da;
  white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.own td { background: #eef5ff; font-weight: 600; }
td.absent { color: #8a9299; font-style: italic; }
td.marked { color: #8a4b00; }
.note { background: #fff6e5; border-left: 4px solid #e0a030; padding: .5rem .9rem; }
figure { margin: 1rem 0; } img { max-width: 100%; }
figcaption { color: #5b646c; font-size: .85rem; }
pre { background: #f3f5f7; padding: .6rem .9rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .85rem; }
"""


def html_page(text: str, folder: Path) -> str:
    """Render a report as one HTML file that needs no other.

    Args:
        text (str): Markdown: a first heading, then blocks between empty lines. A paragraph that
            begins with † or ‡ is a note; so marked numbers and what was not run have colours.
        folder (Path): Of the figures, which are put inside.
    """
    blocks = text.strip().split('\n\n')
    body = '\n'.join(_html(block, folder) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(blocks[0].lstrip("# "))}</title>\n<style>{_STYLE}</style>\n'
        f'</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def _html(block: str, folder: Path) -> str:
    lines = block.split('\n')
    heading, figure = re.match(r'#+ ', block), re.fullmatch(r'!\[(.*)\]\((.*)\)', block)
    if heading:
        tag = f'h{heading.end() - 1}'
        return f'<{tag}>{_inline(block[heading.end() :])}</{tag}>'
    if figure:
        words, path = html.escape(figure[1]), folder / Path(figure[2]).name
        media = 'image/svg+xml' if path.suffix == '.svg' else 'image/png'
        data = base64.b64encode(path.read_bytes()).decode()
        image = f'<img alt="{words}" src="data:{media};base64,{data}">'
        return f'<figure>{image}<figcaption>{words}</figcaption></figure>'
    if block.startswith('|'):
        head, *rows = [line[2:-2].split(' | ') for line in (lines[0], *lines[2:])]
        head = ''.join(f'<th>{_inline(cell)}</th>' for cell in head)
        head = f'<thead><tr>{head}</tr></thead>'
        body = '\n'.join(map(_row, rows))
        return f'<div class="scroll"><table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table></div>'
    if block.startswith('* '):
        return f'<ul>{"".join(f"<li>{_inline(line[2:])}</li>" for line in lines)}</ul>'
    if block.startswith('```'):
        return f'<pre>{html.escape(block[len("```bash") : -len("```")].strip())}</pre>'
    return f'<p class="{"note" if block[0] in "†‡" else "p"}">{_inline(block)}</p>'


def _row(cells: Sequence[str]) -> str:
    row = '<tr class="own">' if cells[0].startswith('LAKD') else '<tr>'
    for text in cells:
        absent, marked = text.startswith('not run'), re.search('[†‡]', text)
        kind = ' class="absent"' if absent else ' class="marked"' if marked else ''
        row += f'<td{kind}>{_inline(text)}</td>'
    return f'{row}</tr>'


def _inline(text: str) -> str:
    """Escape text; `code` and **strong** as in Markdown."""
    text = re.sub(r'`([^`]+)`', r'<code>\1</code>', html.escape(text, quote=False))
    return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)
