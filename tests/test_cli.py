"""``lakd-mm``: what it lists, reports and starts."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from mmengine.config import Config

from lakd_mm_cli import catalog, doctor
from lakd_mm_cli.main import TOOLS, main, make_parser

ROOT = Path(__file__).parents[1]
ENTRIES = {entry.path: entry for entry in catalog.read_configs()}


def lines(capsys, *arguments):
    main(['list', *arguments])
    return [line.split() for line in capsys.readouterr().out.splitlines() if line]


def test_every_config_is_listed():
    files = (path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py'))
    assert set(ENTRIES) == {path.as_posix() for path in files if path.parts[0] != '_base_'}


@pytest.mark.parametrize(
    'path, teacher, student, data, recipe, parameters',
    [
        ('kd/kd_r56_r20_cifar100.py', 'r56', 'r20', 'cifar100', '300e_linear', 278324),
        ('lakd/lakd_wrn40_2_wrn40_1_240e_cifar100.py', 'wrn40_2', 'wrn40_1')
        + ('cifar100', '240e_step', 569780),
        ('rkd/rkd_r34_r18_step_imagenet.py', 'r34', 'r18', 'imagenet', '100e_step', 11689512),
        ('causal/causal_baseline_r18_cifar10.py', '', 'r18', 'cifar10', '30e_early_stop', 11173962),
        ('causal/ablations/kd_at_soft.py', 'r56cbam', 'r20', 'cifar10', '30e_early_stop', None),
        ('cankd/cankd_faster_rcnn_r101_r50_inherit_2x_coco.py', 'r101', 'r50')
        + ('coco', 'inherit_2x', 41753056),
        ('lakd/lakd_r32_r14_digits.py', 'r32', 'r14', 'digits', '8e_linear', None),
        ('teachers/resnet56_cbam_240e_cifar10.py', '', 'resnet56_cbam', 'cifar10')
        + ('240e_step', None),
    ],
)
def test_an_entry(path, teacher, student, data, recipe, parameters):
    method = path.partition('/')[0]
    wanted = catalog.Entry(path, method, teacher, student, data, recipe, parameters)
    assert ENTRIES[path] == wanted


def test_the_recipe_is_that_of_the_config():
    for path in ('kd/kd_r56_r20_cifar100.py', 'kd/kd_r34_r18_imagenet.py'):
        epochs = Config.fromfile(ROOT / 'configs' / path).train_cfg.max_epochs
        assert ENTRIES[path].recipe.startswith(f'{epochs}e_')
    for path in ('lakd/lakd_r32_r14_digits.py', 'at/at_vgg13_vgg8_240e_cifar100.py'):
        epochs = Config.fromfile(ROOT / 'configs' / path).train_cfg.max_epochs
        assert ENTRIES[path].recipe.startswith(f'{epochs}e_')


def test_every_entry_is_complete():
    for entry in ENTRIES.values():
        assert entry.student and entry.recipe, entry
        assert entry.teacher or entry.method == 'teachers' or 'baseline' in entry.path, entry


def test_methods(capsys):
    header, *rows = lines(capsys, 'methods', '--data', 'cifar10')
    assert header == ['method', 'title', 'configs', 'data', 'paper']
    found = {row[0]: row[1:] for row in rows}
    assert found['kd'] == ['KD', '2', 'cifar10', 'https://arxiv.org/abs/1503.02531']
    assert found['teachers'][:2] == ['from', 'scratch'] and 'fgd' not in found


def test_every_method_has_a_title_and_a_page():
    folders = {path.parent.name for path in (ROOT / 'configs').glob('*/README.md')}
    methods = catalog.read_methods()
    assert {method.name for method in methods} == folders | {'teachers'}
    assert all(method.title for method in methods)


def test_pairs(capsys):
    header, *rows = lines(capsys, 'pairs', '--data', 'digits')
    assert header == ['pair', 'teacher', 'student', 'data', 'methods']
    assert rows[0] == ['r32_r14', 'r32', 'r14', 'digits', 'lakd']
    _, *rows = lines(capsys, 'pairs', '--method', 'fgd')
    assert [row[:4] for row in rows] == [
        ['r101_r50', 'r101', 'r50', 'coco'],
        ['x101_r50', 'x101', 'r50', 'coco'],
    ]


def test_configs(capsys):
    options = ('--data', 'cifar100', '--method', 'lakd', '--pair', 'vgg13_vgg8')
    _, *rows, last = lines(capsys, 'configs', *options)
    assert rows == [
        ['lakd/lakd_vgg13_vgg8_240e_cifar100.py', 'vgg13_vgg8', 'cifar100', '240e_step']
        + ['3,965,028'],
        ['lakd/lakd_vgg13_vgg8_cifar100.py', 'vgg13_vgg8', 'cifar100', '300e_linear']
        + ['3,965,028'],
    ]
    assert last[:2] == ['2', 'configs.']


@pytest.mark.parametrize(
    'options, message',
    [
        (['--data', 'cifar1o0'], '--data cifar1o0: there are no configs of it; there are cifar'),
        (['--method', 'catkd'], 'there are cat_kd'),
        (['--method', 'fgd', '--data', 'digits'], 'no configs are of all of these'),
    ],
)
def test_a_wrong_choice_names_what_there_is(capsys, options, message):
    with pytest.raises(SystemExit) as end:
        main(['list', 'configs', *options])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_help_fits_a_screen(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    text = make_parser().format_help().splitlines()
    assert len(text) <= 24 and max(map(len, text)) <= 80
    assert all(any(line.split()[:1] == [name] for line in text) for name in TOOLS)


@pytest.mark.parametrize('name', TOOLS)
def test_a_tool_starts_with_its_own_options(monkeypatch, name):
    started = []
    monkeypatch.setattr('os.execv', lambda *call: started.append(call))
    with pytest.raises(SystemExit):  # behind what would have replaced the process
        main([name, 'a.py', '--seed', '3'])
    ((program, (_, tool, *arguments)),) = started
    assert program == sys.executable and arguments == ['a.py', '--seed', '3']
    assert Path(tool).resolve() == ROOT / 'tools' / TOOLS[name][0]


@pytest.mark.slow
def test_the_script_runs_a_tool():
    command = [sys.executable, '-m', 'lakd_mm_cli', 'test', '--help']
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith('usage: test.py')


def test_listing_needs_neither_torch_nor_the_package():
    code = (
        "import sys; from lakd_mm_cli.main import main; main(['list', 'pairs']); "
        "assert not {'torch', 'mmengine', 'lakd_mm'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_doctor_of_a_healthy_environment(capsys):
    with pytest.raises(SystemExit) as end:
        main(['doctor'])
    text = capsys.readouterr().out
    assert end.value.code == 0, text
    found = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert found['mmengine'][0] == metadata.version('mmengine') and found['mmengine'][-1] == 'yes'
    assert 'GPU' in text and 'bf16' in text
    assert ' '.join(found['mmcls']).startswith('Repairs that resolve mmcls to mmpretrain')


def test_doctor_names_what_does_not_fit(monkeypatch):
    version = metadata.version
    given = {'mmengine': '0.9.0', 'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}
    monkeypatch.setattr(metadata, 'version', lambda name: given.get(name) or version(name))
    rows = {row['package']: row for row in doctor.requirement_rows()}
    assert rows['mmengine']['found'] == '0.9.0' and rows['mmengine']['fits'] == 'NO'
    # Each of the two overwrites files of the other.
    assert rows['mmcv-lite or mmcv']['fits'] == 'NO'
    assert rows['torch']['fits'] == 'yes'
    given.update({'onedl-mmpretrain': '1.3.6'})
    rows = {row['package']: row for row in doctor.requirement_rows()}
    assert rows['mmpretrain or onedl-mmpretrain']['fits'] == 'NO'


def test_doctor_says_why_the_import_fails(monkeypatch, capsys):
    def refuse(name):
        raise ImportError('mmengine: found 0.9.0')

    monkeypatch.setattr(doctor.importlib, 'import_module', refuse)
    with pytest.raises(SystemExit) as end:
        main(['doctor'])
    assert end.value.code == 1
    assert capsys.readouterr().out.endswith(
        'import lakd_mm fails. ImportError: mmengine: found 0.9.0\n'
    )


def test_optional_packages(monkeypatch):
    requires = [
        'torch>=2.6',
        'optuna>=5.0; extra == "tune"',
        'nothing-of-this-name; extra == "a"',
        'nothing-of-this-name; extra == "optional"',
        'pytest; extra == "tests"',
    ]
    monkeypatch.setattr(metadata, 'requires', lambda name: requires)
    assert doctor.optional_rows() == [
        {'package': 'nothing-of-this-name', 'found': '-', 'extra': 'a'},
        {'package': 'optuna', 'found': metadata.version('optuna'), 'extra': 'tune'},
    ]


def test_completion(monkeypatch, capsys):
    main(['completion', 'bash'])
    script = capsys.readouterr().out
    assert 'complete' in script and all(name in script for name in ('doctor', '--method', *TOOLS))
    monkeypatch.setitem(sys.modules, 'shtab', None)
    with pytest.raises(SystemExit):
        main(['completion', 'bash'])
    assert 'pip install "lakd_mm[completion]"' in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error():
    command = f'{sys.executable} -m lakd_mm_cli list configs | head -n 1'
    ran = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.startswith('config') and ran.stderr == ''
