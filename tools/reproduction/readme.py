"""Blocks of the README that are written from results."""

import re
from pathlib import Path

from lakd_mm.errors import ConfigError

from .collect import read_collection
from .plan import Target, find_target
from .records import write_text
from .rendering import to_markdown
from .report import readme_blocks

MARKERS = re.compile(r'<!-- results: (\w+) -->\n(.*?)<!-- end results -->', re.DOTALL)


def fill(text: str, out: Path, link: str = 'docs/results') -> str:
    """Writes the block of each pair of markers anew, from ``out/<target>/results.json``.

    Args:
        text (str): The README.
        out (Path): Folder of the reports.
        link (str): The same folder as the README sees it.

    Raises:
        ConfigError: If a marker names no target.
    """

    def block(match: re.Match) -> str:
        written = readme_block(find_target(match[1]), out, link)
        return f'<!-- results: {match[1]} -->\n{written}<!-- end results -->'

    return MARKERS.sub(block, text)


def readme_block(target: Target, out: Path, link: str) -> str:
    """What stands between the markers of a target."""
    results = read_collection(target, out)
    if not results:
        return '\nNot run yet.\n\n'
    return f'\n{to_markdown(readme_blocks(target, results, f"{link}/{target.name}/table.md"))}\n'


def update(path: Path, out: Path, link: str = 'docs/results') -> None:
    """Fills the markers of a file.

    Raises:
        ConfigError: If there is no such file or it has no markers.
    """
    if not path.exists():
        raise ConfigError(f'--readme {path}: there is no such file.')
    text = path.read_text(encoding='utf-8')
    if not MARKERS.search(text):
        raise ConfigError(
            f'--readme {path}: it lacks markers, <!-- results: table1 --> … <!-- end results -->.'
        )
    write_text(path, fill(text, out, link))
