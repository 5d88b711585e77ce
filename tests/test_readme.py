"""How the README begins, and that the names in tables of parts and keys exist."""

import inspect
import json
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


def test_speed_and_memory_are_those_measured(root):
    text = (root / 'README.md').read_text(encoding='utf-8')
    _, _, section = text.partition('## Speed and memory')
    rows = re.findall(r'^\| (\S[^|]*) \|' + r' ([\d.]+) \|' * 4 + '$', section, re.MULTILINE)
    assert len(rows) == 7
    folder, found = root / 'docs' / 'benchmarks', {}
    for file, column in (('step_time', '/ from scratch'), ('memory', 'live / scratch')):
        content = json.loads((folder / f'{file}_r56_r20.json').read_text())
        found[file] = {row['training']: round(row[column], 2) for row in content['rows']}
    for name, *values in rows:
        name = name.replace('LAKD [1, 4, 9]', 'LAKD local [1,4,9]')
        names = (name, f'{name}, bf16')
        expected = [found[file][one] for file in ('step_time', 'memory') for one in names]
        assert list(map(float, values)) == expected, name
