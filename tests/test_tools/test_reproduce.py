"""The command itself; what it does is tested in test_reproduction."""

import os
import sys

import pytest

from reproduce import main, parse_args, public_command, split_teacher


def test_wrong_input_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', 'tabel1'])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == (
        "error: target 'tabel1': did you mean 'table1' or 'table5' or 'table4'? Known: table1, "
        'table2, table3, table4, table5, fig1, causal, methods, lakd_plus, attention, fig5.'
    )
    assert list(tmp_path.iterdir()) == []


def test_a_report_without_runs(run_tool, tmp_path):
    result = run_tool('reproduce.py', 'table5', '--report-only')
    assert result.returncode == 0, result.stdout
    assert (tmp_path / 'docs/results/table5/table.md').read_text().count('not run') == 15
    assert '-> docs/results/table5/report.html\n' in result.stdout
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['methods', '--methods', 'teacher', 'lakd'], 'teacher is no training'),
        (['table4'], 'memory is no training'),
    ],
)
def test_what_has_nothing_to_hold_out(run_tool, arguments, message):
    result = run_tool('reproduce.py', *arguments, '--held-out', '0.1', '--dry-run')
    assert result.returncode == 1 and message in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    'arguments',
    [
        ['--epochs', '0'],
        ['--fraction', '1.5'],
        ['--jobs', '0'],
        ['--val-interval', '0'],
        ['--recipe', '9e'],
        ['--deadline', '0'],
        ['--report-only', '--jobs', '2'],
        ['--report-only', '--redo'],
        ['--val-interval', '2', '--report-only'],
        ['--dry-run', '--report-only'],
        ['--dry-run', '--out', 'elsewhere'],
    ],
)
def test_numbers_out_of_range(arguments, capsys):
    with pytest.raises(SystemExit):
        parse_args(['table1', *arguments])
    assert arguments[0] in capsys.readouterr().err


def test_teachers(monkeypatch, tmp_path):
    assert split_teacher('resnet56_cifar100=/a/b=c.pt') == ('resnet56_cifar100', '/a/b=c.pt')
    assert split_teacher('/a/b=c.pt') == ('', '/a/b=c.pt')
    assert split_teacher('weights') == ('', 'weights')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lr=0.1.pth').touch()
    assert split_teacher('lr=0.1.pth') == ('', 'lr=0.1.pth')
    assert split_teacher('r56=~/a.pth') == ('r56', os.path.expanduser('~/a.pth'))


def test_the_call_is_kept_without_the_folders_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ['table1', '--teacher-ckpt', 'r56_r20=/home/me/r56.pt', '/data/w', '--epochs', '3']
    assert public_command([*words, '--work-dir', str(tmp_path / 'a' / 'b')]) == (
        'python tools/reproduce.py table1 --teacher-ckpt r56_r20=r56.pt w --epochs 3 --work-dir a/b'
    )
