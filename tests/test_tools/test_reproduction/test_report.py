import csv
import io
import json
import re

import pytest
from matplotlib.figure import Figure
from run_results import test_result, train_result

from lakd_mm.errors import ConfigError
from reproduction.report import fill, write_report
from reproduction.results import sections, unfinished
from reproduction.runs import write_json
from reproduction.targets import find_target

TABLE1 = find_target('table1')


@pytest.fixture
def work(tmp_path):
    """Writes results where runs leave them."""

    def write(*results):
        for result in results:
            write_json(tmp_path / 'work' / result['run'] / 'result.json', result)
        return tmp_path / 'work'

    return write


def report(target, work_dir, tmp_path, **options):
    out = tmp_path / 'out'
    write_report(target, work_dir, out, **options)
    folder = out / target.name
    rows = list(csv.DictReader(io.StringIO((folder / 'table.csv').read_text())))
    return (folder / 'table.md').read_text(), rows, (folder / 'report.html').read_text()


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(f'| {start} |'))


def test_seeds_the_paper_and_what_was_not_run(work, tmp_path):
    full = dict(recipe_epochs=3)
    work_dir = work(
        train_result('lakd', [50, 73, 72], seed=0, **full),
        train_result('lakd', [50, 70, 74], seed=1, **full),
        train_result('scratch', [40, 50, 68.5], **full),
        test_result(),
    )
    text, rows, page = report(TABLE1, work_dir, tmp_path)
    assert '## Full recipe: 3 epochs;' in text
    table = text.split('### ResNet-56 → ResNet-20')[1]
    # The sample's deviation of 72 and 74, and of the best 73 and 74.
    assert line_of(table, 'LAKD') == (
        '| LAKD | 73.00 ± 1.41 | 73.50 ± 0.71 | 72.01 | 0, 1 | 3 min |'
    )
    assert line_of(table, 'from scratch') == (
        '| from scratch | 68.50 | 68.50 (epoch 3) | 69.06 | 0 | 3 min |'
    )
    assert line_of(table, 'KD') == '| KD | not run | not run | 70.66 |  |  |'
    assert line_of(table, 'teacher') == '| teacher | 72.63 |  | 72.34 | tested |  |'
    assert '†' not in text
    assert 'WRN-40-2' in text and '76.61 is a misprint' in text
    assert 'Test CPU, threads a run: 2, torch 2.11.0, data folder_in_memory' in text
    assert 'python tools/reproduce.py table1 --seeds 0' in text

    assert len(rows) == 60
    (lakd,) = [row for row in rows if (row['method'], row['pair']) == ('lakd', 'r56_r20')]
    assert lakd['status'] == 'complete' and lakd['seeds'] == '0 1' and lakd['best_epochs'] == '2 3'
    assert float(lakd['ours_minus_paper']) == pytest.approx(0.99)
    assert float(lakd['std_last_epoch']) == pytest.approx(2**0.5, abs=1e-4)
    assert [row['status'] for row in rows].count('not run') == 57

    assert '<td class="absent">not run</td>' in page and 'src="data:image/svg+xml;base64,' in page
    # One file: nothing is fetched from elsewhere.
    assert not re.search(r'(?:src|href)="(?!data:)', page) and '@import' not in page


def test_a_short_run_never_stands_unmarked(work, tmp_path):
    work_dir = work(
        train_result('lakd', [10, 30, 20]),
        train_result('kd', [15, 25, 35]),
        train_result('kd', [9.87], fraction=0.1),
        test_result(),
    )
    text, rows, page = report(TABLE1, work_dir, tmp_path)
    assert '## Short run: 3 of 300 epochs; ' in text
    assert '## Short run: 1 of 300 epochs on 10 % of the training images; ' in text
    assert 'Full recipe' not in text
    table = text.split('### ')[1]
    assert line_of(table, 'LAKD') == '| LAKD | 20.00† | 30.00† (epoch 2) | 72.01 | 0 | 3 min |'
    assert "| top-1 (%), paper's full training |" in table
    for number in ('20.00', '30.00', '35.00', '9.87'):
        places = [match.end() for match in re.finditer(rf'(?<![\d.]){number}', text)]
        assert places and all(text[place] == '†' for place in places), number
        assert not re.search(rf'(?<![\d.]){number}(?!†)', page), number
    assert '† short run: 3 of 300 epochs.' in text and 'may not be compared' in text
    trained = [row for row in rows if row['mean_last_epoch'] and row['method'] != 'teacher']
    assert [row['status'] for row in trained] == ['short run'] * 3
    assert not any(row['ours_minus_paper'] for row in trained)


def test_held_out_images_are_no_test_images(work, tmp_path):
    held_out = train_result('lakd', [10, 30, 20], held_out=0.1)
    held_out['run'] = held_out['run'].replace('300e-3e', '300e-3e-h0.1')
    work_dir = work(held_out, train_result('lakd', [15, 25, 35]), test_result())
    text, rows, _ = report(TABLE1, work_dir, tmp_path)
    of_test, of_training = text.split('## Short run: ')[1:]
    assert of_training.startswith(
        '3 of 300 epochs, measured on 10 % of the training images, held out; '
    )
    assert '35.00†' in of_test and '20.00†' not in of_test
    assert '20.00†' in of_training and '35.00†' not in of_training
    assert '72.63' in line_of(of_test, 'teacher') and '72.63' not in of_training
    assert {row['held_out'] for row in rows if row['mean_last_epoch'] == '20.0'} == {'0.1'}


def test_what_was_set_aside_does_not_count(work, tmp_path):
    folder = work(train_result('kd', [1.0])) / 'cifar100/kd_r56_r20/300e-1e'
    (folder / 'seed0').rename(folder / 'seed0.20260101_000000.old')
    work(train_result('kd', [2.0]))
    text, _, _ = report(TABLE1, tmp_path / 'work', tmp_path)
    assert '2.00†' in text and '1.00†' not in text
    (folder / 'seed0' / 'result.json').unlink()
    write_json(folder / 'seed0.20260101_000000.old' / 'run.json', {})
    assert list(unfinished(TABLE1, tmp_path / 'work')) == []


def test_budgets_do_not_mix(work, tmp_path):
    results = [
        train_result('kd', [1.0, 2.0]),
        train_result('lakd', [3.0]),
        train_result('at', [4.0] * 300),
        train_result('kd', [5.0] * 300, options=[['model.taps', [2]]]),
        train_result('kd', [6.0] * 240, recipe='240e', recipe_epochs=240),
    ]
    groups = sections(TABLE1, results)
    titles = [section.budget.title().split(';')[0] for section in groups]
    assert titles == [
        'Full recipe: 300 epochs',
        'Full recipe: 240 epochs',
        'Changed recipe: 300 epochs, with model.taps=[2]',
        'Short run: 2 of 300 epochs',
        'Short run: 1 of 300 epochs',
    ]
    for section, method in zip(groups, ['at', 'kd', 'kd', 'kd', 'lakd']):
        assert section.seen('row') == [method]
    assert len({section.budget.slug for section in groups}) == 5


def test_nothing_run(tmp_path):
    text, rows, _ = report(TABLE1, tmp_path / 'work', tmp_path)
    assert '## Full recipe: 300 epochs' in text
    assert line_of(text, 'LAKD').count('not run / ') == 6
    assert all(row['status'] == 'not run' for row in rows)
    (tmp_path / 'out' / 'table3').mkdir()
    text, _, _ = report(find_target('table3'), tmp_path / 'work', tmp_path)
    assert line_of(text, 'taps [1, 4, 9]') == '| taps [1, 4, 9] | not run | not run | 93.27 |  |  |'


def test_results_of_an_earlier_report_stay(work, tmp_path):
    report(TABLE1, work(train_result('kd', [1.0])), tmp_path)
    other = tmp_path / 'other'
    write_json(other / 'cifar100/at_r56_r20/300e-1e/seed0/result.json', train_result('at', [2.0]))
    text, _, _ = report(TABLE1, other, tmp_path)
    assert '1.00†' in text and '2.00†' in text
    text, _, _ = report(TABLE1, other, tmp_path, replace=True)
    assert '1.00†' not in text and '2.00†' in text


def test_the_same_results_give_the_same_files(work, tmp_path):
    work_dir = work(train_result('lakd', [10, 30, 20]), train_result('kd', [15, 25, 35]))
    report(TABLE1, work_dir, tmp_path)
    folder = tmp_path / 'out' / 'table1'
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {
        'curves-300e-3e.svg',
        'report.html',
        'results.json',
        'table.csv',
        'table.md',
    }
    report(TABLE1, tmp_path / 'nothing', tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_curves_pass_through_the_epochs_that_every_seed_has_validated(work, tmp_path, monkeypatch):
    results = [train_result('kd', [10, 20, 30, 40, 50], seed=seed) for seed in (0, 1)]
    for epoch in (1, 3):
        results[1]['epochs'][epoch - 1]['metrics'] = {}
    results[1]['epochs'][4]['metrics'] = {'accuracy/top1': 60}
    panels = []
    monkeypatch.setattr('reproduction.report.curves', lambda *a: panels.append(a[0]) or Figure())
    report(TABLE1, work(*results), tmp_path)
    assert panels == [{'ResNet-56 → ResNet-20': {'KD': ([2, 4, 5], [20, 40, 55])}}]


def test_damaged_files(work, tmp_path):
    work_dir = work(train_result('lakd', [10]), train_result('kd', [15]))
    path = work_dir / 'cifar100/lakd_r56_r20/300e-1e/seed0/result.json'
    path.write_text(path.read_text()[:50])
    text, _, _ = report(TABLE1, work_dir, tmp_path)
    assert '15.00†' in text and '10.00' not in text
    (tmp_path / 'out' / 'table1' / 'results.json').write_text('{')
    with pytest.raises(ConfigError, match='results.json cannot be read. Restore it'):
        report(TABLE1, work_dir, tmp_path)


def test_memory(work, tmp_path):
    rows = [
        {'training': 'from scratch', 'live GiB': 1.5, 'live / scratch': 1.0},
        {'training': 'LAKD local [1,4,9]', 'live GiB': 0.87, 'live / scratch': 0.58},
    ]
    result = {
        **test_result(dataset='benchmarks'),
        'run': 'benchmarks/memory_r56_r20/cpu',
        'cell': 'memory_r56_r20',
        'kind': 'memory',
        'rows': rows,
        'batch': '1024 (measured at 64 and scaled)',
    }
    text, table, _ = report(find_target('table4'), work(result), tmp_path)
    assert '| LAKD local [1,4,9] | 0.870 | 0.58 | 2.868 | 0.83 |' in text
    assert '| CAT-KD | not run | not run | 3.610 | 1.04 |' in text
    assert 'Batch 1024 (measured at 64 and scaled)' in text
    (lakd,) = [row for row in table if row['training'] == 'LAKD local [1,4,9]']
    assert (lakd['pair'], lakd['live / scratch'], lakd['paper (GB)']) == (
        'r56_r20',
        '0.58',
        '2.868',
    )


def test_unfinished_runs_are_told(work, tmp_path):
    folder = work() / 'cifar100/kd_r56_r20/300e/seed0'
    write_json(folder / 'run.json', dict(epochs=300))
    (folder / 'epochs.jsonl').write_text(json.dumps(dict(epoch=1)) + '\n')
    assert list(unfinished(TABLE1, tmp_path / 'work')) == [
        'cifar100/kd_r56_r20/300e/seed0: 1 of 300 epochs'
    ]
    assert list(unfinished(find_target('table2'), tmp_path / 'work')) == []


def test_readme_blocks(work, tmp_path):
    report(TABLE1, work(train_result('lakd', [10, 30, 20]), test_result()), tmp_path)
    text = 'above\n<!-- results: table1 -->\nold\n<!-- end results -->\nbelow\n'
    filled = fill(text, tmp_path / 'out')
    assert filled.startswith('above\n<!-- results: table1 -->\n\n**Short run: 3 of 300 epochs; ')
    assert filled.endswith('<!-- end results -->\nbelow\n') and '\nold\n' not in filled
    assert '| LAKD | 20.00† | 30.00† (epoch 2) | 72.01 | 0 | 3 min |' in filled
    assert 'Not run: from scratch, KD, CRD, OFD, FitNet, RKD, AT, CAT-KD, ResNet-110 →' in filled
    assert '(docs/results/table1/table.md)' in filled
    assert fill(filled, tmp_path / 'out') == filled
    with pytest.raises(ConfigError, match="target 'table9'"):
        fill(text.replace('table1', 'table9'), tmp_path / 'out')
