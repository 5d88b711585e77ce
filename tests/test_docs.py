"""What the site and the READMEs show: code runs, configs build, commands parse, files exist."""

import argparse
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS

from lakd_mm.models import Distill
from lakd_mm_cli.main import TOOLS, make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
sys.path[:0] = [str(DOCS), str(ROOT / 'tools' / 'dev'), str(ROOT / 'tools')]

import draw_concepts  # noqa: E402
import generated  # noqa: E402

from reproduction.targets import label  # noqa: E402

NOTEBOOK = DOCS / 'tutorials/lakd_in_ten_minutes.ipynb'
# What is not written by hand shows what other tests cover.
MADE = [DOCS / name for name in ('_build', '_generated')]
MADE += [DOCS / 'results' / name for name in ('table', 'causal', 'methods')]
PAGES = sorted(
    path
    for path in [*ROOT.glob('*.md'), *(ROOT / 'configs').rglob('*.md'), *DOCS.rglob('*.md')]
    if not str(path).startswith(tuple(map(str, MADE)))
    and (path.parent != DOCS / 'methods' or path.stem == 'index')
)
FENCE = re.compile(r'^( *)```(\w+)\n(.*?)^ *```', re.M | re.S)
# Commands that are not ours.
OTHERS = {'pip', '.', 'lakd-mm'}


def blocks(language):
    """Each block of a language: its page's name and its text."""
    for page in PAGES:
        for indent, kind, text in FENCE.findall(page.read_text(encoding='utf-8')):
            if kind == language:
                text = re.sub(f'^{indent}', '', text, flags=re.M)
                yield page.relative_to(ROOT).as_posix(), text


CONFIGS = [(name, text) for name, text in blocks('python') if text.startswith('_base_')]
# tests/test_contributing.py runs the files of CONTRIBUTING.md, whose first line is their name.
CODE = [
    (name, text)
    for name, text in blocks('python')
    if not text.startswith('_base_') and not re.match(r'# (append to )?\w+/', text)
]
COMMANDS = [
    (name, line.strip())
    for name, text in blocks('bash')
    for line in text.replace('\\\n', ' ').splitlines()
    if line.strip() and not line.strip().startswith('#')
]


def test_there_are_snippets_of_each_kind():
    assert len(CONFIGS) >= 6 and len(CODE) >= 10 and len(COMMANDS) >= 50


@pytest.mark.parametrize('name, text', CONFIGS, ids=[name for name, _ in CONFIGS])
def test_configs_build(tmp_path, name, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    cfg = Config.fromfile(path)
    assert cfg.train_dataloader and cfg.optim_wrapper and cfg.train_cfg.max_epochs > 0
    init_default_scope('mmpretrain')
    cfg.model.teacher_ckpt = None
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert isinstance(model, Distill)


@pytest.mark.parametrize('page', sorted({name for name, _ in CODE}))
def test_code_runs(tmp_path, monkeypatch, page):
    """The blocks of a page run one after another, in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace = {'__name__': f'page_{Path(page).stem}'}
    for name, text in CODE:
        if name == page:
            exec(compile(text, name, 'exec'), namespace)


class Parsed(Exception):
    """A tool has read its command line, and goes no further."""


def parse(monkeypatch, path, arguments):
    """Let a tool read its command line; it exits with status 2 if an option is wrong."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *given):
        parse_args(parser, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    monkeypatch.setattr(sys, 'argv', [path.name, *arguments])
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f'shown_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(Parsed):
        module.main()


def check_command(monkeypatch, words):
    """Check one command: what it runs exists, and takes these options."""
    while words and re.match(r'\w+=', words[0]):
        words = words[1:]
    if not words:
        return
    program, *arguments = words
    if program == 'make':
        targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M)
        assert arguments[0] in targets, arguments[0]
    elif program == 'bash':
        assert (ROOT / arguments[0]).is_file(), arguments[0]
    elif program in ('python', 'lakd-mm'):
        path = ROOT / arguments[0]
        if program == 'lakd-mm':
            if arguments[0] not in TOOLS:
                make_parser().parse_args(arguments)
                return
            path = ROOT / 'tools' / TOOLS[arguments[0]][0]
        assert path.is_file(), path
        if path.parent.name != 'dev':
            parse(monkeypatch, path, arguments[1:])
    else:
        assert program in OTHERS or program == 'pre-commit', program


@pytest.mark.parametrize('page', sorted({name for name, _ in COMMANDS}))
def test_commands_are_right(monkeypatch, page):
    for name, line in COMMANDS:
        if name == page:
            words, command = shlex.split(line, comments=True), []
            for word in [*words, '&&']:
                if word in ('&&', '|', '>') or word.endswith(';'):
                    with monkeypatch.context() as patch:
                        check_command(patch, [*command, word[:-1]] if word[-1] == ';' else command)
                    command = []
                    if word == '>':
                        break
                else:
                    command.append(word)


@pytest.mark.parametrize('page', ['README.md', 'docs/results/own_images.md'])
def test_results_are_those_of_the_runs(page):
    found = json.loads((DOCS / 'results/own_images.json').read_text())
    text = (ROOT / page).read_text(encoding='utf-8')
    assert f'{found["teacher_top1"]:.1f} %' in text
    names = dict(scratch='from scratch', kd='KD', cat_kd='CAT-KD', lakd='LAKD')
    for method, name in names.items():
        last = [run['top1'][-1] for run in found['runs'] if run['method'] == method]
        cells = [name, *last, sum(last) / len(last)]
        assert f'| {" | ".join(c if isinstance(c, str) else f"{c:.1f}" for c in cells)} |' in text


@pytest.mark.parametrize('page', ['README.md', 'docs/results/replication.md'])
def test_accuracies_are_those_of_the_runs_on_cifar100(page):
    found = json.loads((DOCS / 'results/methods/results.json').read_text())['results']
    lines = (ROOT / page).read_text(encoding='utf-8').splitlines()
    trained = [run for run in found if run['kind'] == 'train']
    longest = max(run['max_epochs'] for run in trained)
    for run in [run for run in trained if run['max_epochs'] == longest]:
        name = label(run['cell'].removesuffix('_r56_r20'))
        after = [run['epochs'][epoch - 1]['metrics']['accuracy/top1'] for epoch in (5, 10, longest)]
        start = f'| {name} | {" | ".join(f"{top1:.2f}" for top1 in after)} |'
        assert any(line.startswith(start) for line in lines), start


def test_what_the_students_know_is_as_measured():
    rows = json.loads((DOCS / 'results/methods/knowledge.json').read_text())['rows']
    lines = (DOCS / 'results/replication.md').read_text(encoding='utf-8').splitlines()
    for name, row in rows.items():
        cells = [f'{row["top1"]:.2f}']
        cells += [f'{row[key]:.1f}' for key in ('ek_percent', 'agreement', 'ece')]
        cells += [f'{row[key]:.2f}' for key in ('cka_layer1_0', 'cka_layer2_0', 'cka_layer3_2')]
        assert f'| {name} | {" | ".join(cells)} |' in lines


def test_a_wrong_option_is_found(monkeypatch):
    with pytest.raises(SystemExit):
        check_command(monkeypatch, ['python', 'tools/train.py', 'a.py', '--no-such-option'])
    with pytest.raises(AssertionError):
        check_command(monkeypatch, ['make', 'no-such-target'])


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_exist(page):
    text = page.read_text(encoding='utf-8')
    if page.name in ('CONTRIBUTING.md', 'CHANGELOG.md'):
        text = FENCE.sub('', text)  # what the example adds
    named = set(re.findall(r'\b((?:configs|tools|lakd_mm)/[\w/.-]+\.(?:py|sh|md))', text))
    named |= {m for m in re.findall(r'\]\((?!http|#)([^)#]+)', text)}
    for name in named:
        page_of_method = re.fullmatch(r'(?:\.\./)?methods/(\w+)\.md', name)
        path = ROOT / f'configs/{page_of_method[1]}/README.md' if page_of_method else None
        if path is None or page_of_method[1] == 'index':
            path = page.parent / name
        assert path.exists() or (ROOT / name).exists(), name


def test_every_method_has_a_page_with_all_its_configs():
    pages = generated.method_pages()
    assert set(pages) == {path.parent.name for path in (ROOT / 'configs').glob('*/README.md')}
    for name, text in pages.items():
        configs = (ROOT / 'configs' / name).rglob('*.py')
        assert all(path.relative_to(ROOT / 'configs').as_posix() in text for path in configs)
        for link in re.findall(r'\]\((?!http|#)([^)#]+)', text):
            assert Path(link).stem in pages or (DOCS / 'methods' / link).exists(), (name, link)


def test_links_of_a_readme_are_those_of_its_page():
    source, target = ROOT / 'configs/hmat', DOCS / 'methods'
    pages = {ROOT / 'configs/at': target / 'at.md'}
    text = (
        '[AT](../at#configs) [x](https://a.b) ![p](../../docs/figures/step.svg) '
        '[base](../_base_/methods/lakd.py)'
    )
    assert generated.rebase(text, source, target, pages) == (
        '[AT](../methods/at.md#configs) [x](https://a.b) ![p](../figures/step.svg) '
        '`configs/_base_/methods/lakd.py`'
    )


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    """In a process of its own, on few images; its networks learn as far as one epoch goes."""
    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    code = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
    assert not any(cell.get('outputs') for cell in cells) and 'EPOCHS, IMAGES = 8, None' in code[0]
    code[0] = code[0].replace('EPOCHS, IMAGES = 8, None', 'EPOCHS, IMAGES = 1, 64')
    code.append('assert matrix.shape == (4, 7) and abs(matrix).max() <= 1.001')
    command = [sys.executable, '-c', '\n'.join(code)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    written = {path.name for path in (tmp_path / 'work_dirs/ten_minutes').iterdir()}
    assert written == {'teacher', 'lakd', 'student.pth', 'student.py', 'cka.png', 'maps.png'}


def test_the_page_of_the_notebook_is_the_notebook():
    page = generated.notebook_page(NOTEBOOK)
    assert page.startswith('# LAKD in ten minutes') and page.count('```python\n') == 6
    assert 'taps=[1, 2, 3]' in page


def test_the_accepted_releases_are_those_of_the_package():
    table = generated.requirement_table()
    assert re.search(r'\| torch +\| >=2\.6,<3 +\| 2\.11\.0 +\|', table)
    assert table.count('\n') == 8


def test_the_matrix_shows_each_cell_and_why_one_failed():
    cells = {
        f'{stack} {python} {torch}': dict(stack=stack, python=python, torch=torch, checks=checks)
        for stack, python, torch, checks in (
            ('classic', '3.9', '2.11.0', dict(install='yes', pytest='12 passed')),
            ('classic', '3.10', '2.8.0', dict(install='yes', test='yes')),
            ('onedl', '3.10', '2.8.0', dict(install='yes', doctor='no: ImportError: it')),
        )
    }
    lines = generated.matrix_table(cells).splitlines()
    cells_of = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[:5]]
    del cells_of[1]
    assert cells_of == [
        ['packages', 'torch', 'Python 3.9', 'Python 3.10'],
        ['classic', '2.8.0', '-', 'yes'],
        ['classic', '2.11.0', 'yes, 12 passed', '-'],
        ['onedl', '2.8.0', '-', '**no**: doctor'],
    ]
    assert lines[5:] == ['', '- onedl, torch 2.8.0, Python 3.10, doctor: `ImportError: it`']


@pytest.mark.parametrize('name', draw_concepts.DRAWINGS)
def test_the_committed_pictures_are_those_of_the_script(name):
    committed = (DOCS / 'figures' / name).read_text(encoding='utf-8')
    assert committed == str(draw_concepts.DRAWINGS[name]())


def test_the_site_reaches_every_page():
    """A page that no table of contents names is a warning of Sphinx; this one needs no Sphinx."""
    for folder in ('get_started', 'concepts', 'how_to', 'api'):
        index = (DOCS / folder / 'index.md').read_text()
        pages = {path.stem for path in (DOCS / folder).glob('*.md')} - {'index'}
        (listed,) = re.findall(r'```{toctree}\n(?::.*\n)*\n(.*?)```', index, re.S)
        assert set(listed.split()) == pages


def test_speed_and_memory_in_the_readme_are_those_measured(root):
    text = (root / 'README.md').read_text(encoding='utf-8')
    _, _, section = text.partition('## Speed and memory')
    rows = re.findall(r'^\| (\S[^|]*) \|' + r' ([\d.]+) \|' * 4 + '$', section, re.MULTILINE)
    assert len(rows) == 7
    columns = [
        generated.measured('step_time_r56_r20', '/ from scratch'),
        generated.measured('memory_r56_r20', 'live / scratch'),
    ]
    for name, *values in rows:
        name = name.replace('LAKD [1, 4, 9]', 'LAKD local [1,4,9]')
        names = (name, f'{name}, bf16')
        expected = [round(column[one], 2) for column in columns for one in names]
        assert list(map(float, values)) == expected, name
