"""A report's blocks as Markdown and as one HTML file that needs no other."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from lakd_mm.visualization.markdown import markdown_table

from .tables import CHANGED_MARK, NOT_RUN, SHORT_MARK

STYLE = """
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


@dataclass
class Block:
    """A part of a report.

    Args:
        kind (str): 'h1', 'h2', 'h3', 'p', 'note', 'list', 'table', 'code' or 'figure'.
        content (str | Sequence): Text; lines of a list or of cells; the file name of a figure.
    """

    kind: str
    content: Union[str, Sequence]


def to_markdown(blocks: Sequence[Block]) -> str:
    """Renders blocks as Markdown."""
    parts = []
    for block in blocks:
        content = block.content
        if block.kind in ('h1', 'h2', 'h3'):
            parts.append(f'{"#" * int(block.kind[1])} {content}')
        elif block.kind == 'table':
            parts.append(markdown_table(content))
        elif block.kind == 'list':
            parts.append('\n'.join(f'* {item}' for item in content))
        elif block.kind == 'code':
            parts.append(f'```bash\n{content}\n```')
        elif block.kind == 'figure':
            parts.append(f'![{caption(content)}]({content})')
        else:
            parts.append(content)
    return '\n\n'.join(parts) + '\n'


def to_html(blocks: Sequence[Block], folder: Path) -> str:
    """Renders blocks as HTML, with the figures of a folder inside."""
    title = next((block.content for block in blocks if block.kind == 'h1'), 'Results')
    body = '\n'.join(_html(block, folder) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n{body}\n</body>\n</html>\n'
    )


def caption(name: str) -> str:
    """What a figure shows, by its file's name."""
    what = name.split('-', 1)[0].replace('_', ' ')
    names = {
        'curves': 'top-1 after each epoch, mean over seeds',
        'heat map': "CKA of each student's layers with the teacher's, after the last epoch",
        'tap distances': 'mean squared distance of each tap from the teacher, on test images',
    }
    return names.get(what, what)


def _html(block: Block, folder: Path) -> str:
    content = block.content
    if block.kind in ('h1', 'h2', 'h3'):
        return f'<{block.kind}>{_text(content)}</{block.kind}>'
    if block.kind == 'table':
        return _table(content)
    if block.kind == 'list':
        return '<ul>' + ''.join(f'<li>{_text(item)}</li>' for item in content) + '</ul>'
    if block.kind == 'code':
        return f'<pre>{html.escape(content)}</pre>'
    if block.kind == 'figure':
        return _figure(folder / content)
    return f'<p class="{block.kind}">{_text(content)}</p>'


def _text(text: str) -> str:
    """Escapes text; `code` and **strong** as in Markdown."""
    text = html.escape(text, quote=False)
    text = re.sub(r'`([^`]+)`', r'<code>\1</code>', text)
    return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)


def _table(lines: Sequence[Sequence[str]]) -> str:
    header = ''.join(f'<th>{_text(cell)}</th>' for cell in lines[0])
    rows = []
    for line in lines[1:]:
        own = ' class="own"' if line[0].startswith('LAKD') else ''
        rows.append(f'<tr{own}>{"".join(map(_cell, line))}</tr>')
    body = '\n'.join(rows)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{header}</tr></thead>\n'
        f'<tbody>\n{body}\n</tbody>\n</table></div>'
    )


def _cell(text: str) -> str:
    kind = ''
    if text.startswith(NOT_RUN):
        kind = ' class="absent"'
    elif SHORT_MARK in text or CHANGED_MARK in text:
        kind = ' class="marked"'
    return f'<td{kind}>{_text(text)}</td>'


def _figure(path: Path) -> str:
    media = 'image/svg+xml' if path.suffix == '.svg' else 'image/png'
    data = base64.b64encode(path.read_bytes()).decode()
    words = html.escape(caption(path.name))
    return (
        f'<figure><img alt="{words}" src="data:{media};base64,{data}">'
        f'<figcaption>{words}</figcaption></figure>'
    )
