"""Small data sets, and configs made small, for what needs MMDetection or MMSegmentation."""

import pytest
import torch
from dense_networks import FORMATS, ROOT, SIZE, load_tool
from mmengine.config import Config
from mmengine.registry import init_default_scope


@pytest.fixture(scope='session')
def dense_steps():
    return load_tool('dense_steps')


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """The folder of a data set of a few drawn images, by the package that reads it."""
    shapes = load_tool('shapes')
    folder = tmp_path_factory.mktemp('data')
    for name in FORMATS.values():
        shapes.FORMATS[name](folder / name, images=4, size=SIZE)
    return {package: folder / name for package, name in FORMATS.items()}


@pytest.fixture
def small_config(dense_steps, data):
    """Reads a config and makes it small: drawn images, random weights."""

    def load(name):
        torch.manual_seed(0)
        cfg = Config.fromfile(ROOT / 'configs' / name)
        init_default_scope(cfg.default_scope)
        return dense_steps.shrink(cfg, data[cfg.default_scope], SIZE, 2)

    return load
