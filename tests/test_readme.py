"""How the README begins, and that the names in tables of parts and keys exist."""

import inspect
import re
from pathlib import Path

import lakd_mm
from lakd_mm.models import LAKD, Distill, NDAMFeatureLoss

ROOT = Path(__file__).parents[1]


def test_the_readme_opens_with_its_two_commands():
    head = (ROOT / 'README.md').read_text()[:600]
    assert head.index('make demo') < head.index('make test')


def test_parts_and_keys_exist():
    parts = re.findall(
        r'^\| ((?:`\w+`(?:, )?)+) \|', (ROOT / 'docs/get_started/own_project.md').read_text(), re.M
    )
    names = [name for cell in parts for name in re.findall(r'`(\w+)`', cell)]
    spaces = (lakd_mm.models, lakd_mm.datasets, lakd_mm.engine)
    assert len(names) >= 8
    assert all(any(hasattr(space, name) for space in spaces) for name in names), names

    section = (
        (ROOT / 'configs/lakd/README.md').read_text().split('## What the paper leaves open')[1]
    )
    cells = [line.split('|')[2] for line in section.splitlines() if line.startswith('| ')]
    keys = [key for cell in cells for key in re.findall(r'`(?:\w+\.)?(\w+)`', cell)]
    known = {
        name
        for cls in (LAKD, Distill, NDAMFeatureLoss)
        for name in inspect.signature(cls.__init__).parameters
    }
    assert len(keys) > 10 and set(keys) <= known, set(keys) - known
