"""What the READMEs show: their configs parse, their files and keys exist."""

import inspect
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS

import lakd_mm
from lakd_mm.models import LAKD, Distill, NDAMFeatureLoss

ROOT = Path(__file__).parents[1]
READMES = sorted(ROOT.glob('README.md')) + sorted((ROOT / 'configs').rglob('README.md'))
CONFIGS = [
    (readme.relative_to(ROOT).as_posix(), i, code)
    for readme in READMES
    for i, code in enumerate(re.findall(r'```python\n(.*?)```', readme.read_text(), re.DOTALL))
]


@pytest.mark.parametrize('readme, number, code', CONFIGS, ids=lambda value: str(value)[:24])
def test_configs_build(tmp_path, readme, number, code):
    path = tmp_path / 'config.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    assert cfg.train_dataloader and cfg.optim_wrapper and cfg.train_cfg.max_epochs > 0
    init_default_scope('mmpretrain')
    cfg.model.teacher_ckpt = None
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert isinstance(model, Distill)


@pytest.mark.parametrize('readme', READMES, ids=lambda path: path.parent.name)
def test_files_exist(readme):
    text = readme.read_text()
    named = set(re.findall(r'\b((?:configs|tools|lakd_mm)/[\w/.-]+\.(?:py|sh|md))', text))
    named |= {m for m in re.findall(r'\]\((?!http|#)([^)#]+)', text)}
    for name in named:
        assert (ROOT / name).exists() or (readme.parent / name).exists(), name


def test_the_readme_opens_with_its_two_commands():
    head = (ROOT / 'README.md').read_text()[:600]
    assert head.index('make demo') < head.index('make test')


def test_parts_and_keys_exist():
    parts = re.findall(r'^\| ((?:`\w+`(?:, )?)+) \|', (ROOT / 'README.md').read_text(), re.M)
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
