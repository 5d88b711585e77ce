"""The committed reports, and the README, say what the committed results say."""

from pathlib import Path

import pytest

from lakd_mm.visualization.markdown import html_page
from reproduction.report import MARKERS, fill, report_text
from reproduction.results import read_collection
from reproduction.tables import csv_text
from reproduction.targets import TARGETS, find_target

ROOT = Path(__file__).parents[3]
OUT = ROOT / 'docs' / 'results'
COMMITTED = [name for name in TARGETS if (OUT / name / 'results.json').exists()]


def test_the_readme_is_what_the_results_give():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert fill(text, OUT) == text
    for name, block in MARKERS.findall(text):
        assert name in COMMITTED or 'Not run yet.' in block


def test_the_reports_are_what_the_results_give():
    assert COMMITTED
    for name in COMMITTED:
        target, folder = find_target(name), OUT / name
        results = read_collection(target, OUT)
        assert results, name
        text = report_text(target, results, folder)
        assert (folder / 'table.md').read_text(encoding='utf-8') == text
        assert (folder / 'report.html').read_text(encoding='utf-8') == html_page(text, folder)
        assert (folder / 'table.csv').read_text() == csv_text(target, results)


@pytest.mark.parametrize('secret', ['/work', '/home', '/tmp', '/root'])
def test_no_report_names_a_folder_of_a_machine(secret):
    files = [path for path in OUT.rglob('*') if path.is_file() and path.suffix != '.png']
    texts = [path.read_text(encoding='utf-8') for path in files]
    assert texts
    assert not any(f'{secret}/' in text for text in texts)
