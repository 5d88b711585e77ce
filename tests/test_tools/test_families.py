"""The table of backbone families says what a run of them gives."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load():
    spec = importlib.util.spec_from_file_location('families', ROOT / 'tools/dev/families.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KNOWN = json.loads((ROOT / 'docs/families.json').read_text())


@pytest.mark.slow
@pytest.mark.parametrize('family', ['ResNet', 'MobileNetV2', 'RepVGG', 'ViT'])
def test_a_family_gives_its_row(family, run_tool, tmp_path):
    files = ('--json', tmp_path / 'rows.json', '--table', tmp_path / 'rows.md')
    result = run_tool('dev/families.py', family, *files)
    assert result.returncode == 0, result.stdout
    assert json.loads((tmp_path / 'rows.json').read_text()) == {family: KNOWN[family]}


def test_the_table_is_written_from_the_rows():
    assert (ROOT / 'docs/families.md').read_text() == load().table(KNOWN)


def test_no_family_crashes_or_fails():
    bad = ('crashes', 'fails')
    assert [k for k, cells in KNOWN.items() if any(c.startswith(bad) for c in cells.values())] == []
