"""Which calls of the analysis tools draw Figures 1 and 5."""

import pytest
import torch
from run_results import train_result

from lakd_mm.errors import ConfigError
from reproduction import report
from reproduction.planner import Settings, plan_runs
from reproduction.runs import write_json
from reproduction.targets import Budget, find_target


@pytest.fixture
def finished(root, tmp_path):
    """Runs of a figure for one epoch, all of them done."""

    def plan(name):
        target = find_target(name)
        settings = Settings(root, tmp_path / 'work', 'in_memory', (('resnet56', str(teacher)),))
        runs = plan_runs(target.cells, Budget(epochs=1), [3], settings)
        for run in runs:
            result = train_result('lakd', [50.0], dataset=run.cell.dataset, seed=3)
            write_json(run.folder / 'result.json', {**result, 'run': run.id})
            (run.folder / 'epoch_1.pth').touch()
        return target, runs

    teacher = tmp_path / 'teacher.pth'
    torch.save({}, teacher)
    return plan


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Calls of tools, which make an empty picture instead."""
    made = []

    def call(command):
        made.append([word.replace(str(tmp_path), '…') for word in command])
        (tmp_path / command[command.index('--out') + 1]).write_bytes(b'')

    monkeypatch.setattr(report, '_call', call)
    return made


def test_heat_map(finished, calls, tmp_path, root):
    target, runs = finished('fig1')
    (picture,) = report.make_figures(target, runs, tmp_path / 'work', tmp_path / 'out')
    assert picture.parent == tmp_path / 'out' / 'fig1' and picture.exists()
    assert picture.name.startswith('heat_map-300e-1e') and picture.name.endswith('-seed3.png')
    (call,) = calls
    assert call[0] == str(root / 'tools/analysis_tools/cka.py')
    assert call[2] == '…/teacher.pth'
    students = [call[i + 1] for i, word in enumerate(call) if word == '--student']
    assert students == ['LAKD', 'CAT-KD', 'FitNet, each stage', 'KD']
    assert all(word.endswith('seed3/epoch_1.pth') for word in call if word.endswith('epoch_1.pth'))


def test_no_heat_map_without_checkpoints(finished, calls, tmp_path, capsys):
    target, runs = finished('fig1')
    (runs[2].folder / 'epoch_1.pth').unlink()
    assert report.make_figures(target, runs, tmp_path / 'work', tmp_path / 'out') == []
    assert 'the last checkpoints of its runs are gone' in capsys.readouterr().out
    (runs[2].folder / 'result.json').unlink()
    assert report.make_figures(target, runs, tmp_path / 'work', tmp_path / 'out') == []
    assert calls == []


def test_distances(finished, calls, tmp_path):
    target, runs = finished('fig5')
    (picture,) = report.make_figures(target, runs, tmp_path / 'work', tmp_path / 'out')
    assert picture.name.startswith('tap_distances-300e-1e') and picture.exists()
    (call,) = calls
    names = [call[i + 1] for i, word in enumerate(call) if word == '--run']
    assert names == ['taps [3, 6, 9]', 'taps [2, 5, 9]', 'taps [1, 4, 9]']
    assert all(run.cfg.default_hooks.epoch_record for run in runs)


def test_a_table_has_none(finished, calls, tmp_path):
    _, runs = finished('fig5')
    assert report.make_figures(find_target('table3'), runs, tmp_path, tmp_path / 'out') == []


def test_a_tool_that_fails(tmp_path):
    script = tmp_path / 'broken.py'
    script.write_text("raise SystemExit('error: no such layer')")
    with pytest.raises(ConfigError, match='broken.py failed:\nerror: no such layer'):
        report._call([str(script)])
