"""The committed configs are those of tools/dev/write_configs.py, to the byte."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
sys.path.insert(0, str(ROOT / 'tools' / 'dev'))

import write_configs  # noqa: E402

WRITTEN = write_configs.all_configs()


def test_no_config_is_in_no_table():
    assert write_configs.unknown(WRITTEN) == [] and len(WRITTEN) == 412


@pytest.mark.parametrize('folder', sorted({path.partition('/')[0] for path in WRITTEN}))
def test_the_committed_configs_are_what_the_tables_give(folder):
    for path in (path for path in WRITTEN if path.startswith(f'{folder}/')):
        committed = CONFIGS / path
        assert committed.exists(), f'{path}: run tools/dev/write_configs.py'
        assert committed.read_bytes() == WRITTEN[path].encode(), f'{path}: change its table'


def test_the_script_writes_them_and_names_what_no_table_gives(tmp_path):
    for part in ('tools/dev', 'configs/kd'):
        (tmp_path / part).mkdir(parents=True)
    for name in ('write_configs.py', 'config_tables.py'):
        (tmp_path / 'tools/dev' / name).write_bytes((ROOT / 'tools/dev' / name).read_bytes())
    (tmp_path / 'configs/kd/mine.py').touch()
    command = [sys.executable, 'tools/dev/write_configs.py']
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1 and 'no table gives kd/mine.py' in ran.stderr
    (tmp_path / 'configs/kd/mine.py').unlink()
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).returncode == 0
    found = (path.relative_to(tmp_path / 'configs') for path in tmp_path.rglob('configs/**/*.py'))
    assert {path.as_posix() for path in found} == set(WRITTEN)
    for path, text in WRITTEN.items():
        assert (tmp_path / 'configs' / path).read_text() == text


def test_bases_are_few_and_each_is_used():
    bases = list((CONFIGS / '_base_').rglob('*.py'))
    # Configs for one's own images are written when they are wanted.
    users = [*CONFIGS.rglob('*.py'), ROOT / 'tools/own_images/writing.py']
    used = '\n'.join(path.read_text() for path in users)
    assert len(bases) <= 30
    for base in bases:
        assert re.search(rf"['/]{re.escape(base.name)}'", used), base
