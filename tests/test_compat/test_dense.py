"""What a config that needs MMDetection or MMSegmentation says where they are missing."""

import importlib.util
import re
import sys

import pytest
from mmengine.config import Config
from mmengine.model import BaseModule
from mmrazor.registry import MODELS

from lakd_mm.compat import dense
from lakd_mm.errors import ConfigError

FOUND = importlib.util.find_spec


@pytest.fixture
def installed(monkeypatch):
    """Makes these the only ones of the three that are found."""

    def pretend(*names):
        known = {'mmdet', 'mmseg', 'mmcv._ext'}
        monkeypatch.setattr(
            importlib.util,
            'find_spec',
            lambda name, *a: (name in names or None) if name in known else FOUND(name, *a),
        )

    return pretend


@pytest.mark.parametrize(
    'config, package, name, extra',
    [
        ('cankd_retinanet_r101_r50_2x_coco', 'mmdet', 'MMDetection', 'detection'),
        ('cankd_pspnet_r101_r18_80k_cityscapes', 'mmseg', 'MMSegmentation', 'segmentation'),
    ],
)
def test_configs(installed, root, config, package, name, extra):
    path = str(root / f'configs/cankd/{config}.py')
    for present, problem in [
        (['mmcv._ext'], rf'{name} \({package}\), which is not installed'),
        ([package], f'{name}, which needs the full mmcv; the installed mmcv-lite'),
    ]:
        installed(*present)
        with pytest.raises(ConfigError, match=f'{package}::.* needs {problem}') as caught:
            Config.fromfile(path)
        assert 'make install-dense' in str(caught.value)
        assert f'lakd_mm[{extra}]' in str(caught.value)


def test_train_ends_with_that_message(run_tool, root):
    if FOUND('mmdet') is not None:
        pytest.skip('MMDetection is installed here')
    config = root / 'configs/fgd/fgd_retinanet_r101_r50_2x_coco.py'
    result = run_tool('train.py', config)
    assert result.returncode == 1
    last = result.stdout.splitlines()[-1]
    assert re.match('error: config .*MMDetection .mmdet., which is not installed', last)


@pytest.mark.parametrize(
    'network',
    [
        dict(type='mmdet.RetinaNet'),
        dict(type='RetinaNet', _scope_='mmdet'),
        dict(cfg_path='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'),
    ],
)
def test_networks(installed, network):
    installed()
    for side in ('architecture', 'teacher'):
        networks = dict(architecture=dict(type='mmpretrain.X'), teacher=dict(type='mmpretrain.X'))
        cfg = dict(type='mmrazor.Distill', transfers={}, **{**networks, side: network})
        with pytest.raises(ConfigError, match=f'{side} needs MMDetection'):
            MODELS.build(cfg)


def test_what_is_there_is_let_through(installed):
    installed('mmdet', 'mmcv._ext')
    dense.check_dense_package('mmdet', 'it')
    dense.check_dense_package('mmpretrain', 'it')
    with pytest.raises(ConfigError, match='it needs MMSegmentation'):
        dense.check_dense_package('mmseg', 'it')


@pytest.mark.parametrize('package', dense.EXTRAS)
def test_train_returns_the_module(monkeypatch, package):
    """A class that is defined as theirs are; nothing happens to it where they are not installed."""

    class Net(BaseModule):
        __module__ = f'{package}.models.net'

        def train(self, mode=True):
            super().train(mode)

    monkeypatch.delitem(sys.modules, package, raising=False)
    dense.apply()
    assert Net().eval() is None
    monkeypatch.setitem(sys.modules, package, dense)
    dense.apply()
    net = Net()
    assert net.eval() is net and not net.training
