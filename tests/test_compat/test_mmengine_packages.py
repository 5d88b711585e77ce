import importlib.metadata
import inspect
import sys

import mmengine.utils
import pytest
from mmengine.config import Config
from mmrazor.registry import MODELS

from lakd_mm.compat import mmengine_packages
from lakd_mm.errors import ConfigError

WITHOUT_PKG_RESOURCES = """
    import sys

    class NoPkgResources:
        def find_spec(self, name, path=None, target=None):
            if name.partition('.')[0] == 'pkg_resources':
                raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    sys.meta_path.insert(0, NoPkgResources())
    import lakd_mm
    from mmengine.config import Config
    from mmengine.hub import get_config
    from mmengine.utils import get_installed_path, is_installed
"""


@pytest.fixture
def no_pkg_resources(monkeypatch):
    """An environment of setuptools 82 or later, seen from this process."""
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)


def test_bases_resolve_without_pkg_resources(import_and_run, tmp_path):
    (tmp_path / 'of_mmpretrain.py').write_text(
        "_base_ = ['mmpretrain::_base_/datasets/cifar100_bs16.py',\n"
        "          'mmpretrain::_base_/schedules/cifar10_bs128.py']\n"
    )
    (tmp_path / 'of_ours.py').write_text("_base_ = 'lakd_mm::lakd/lakd_r56_r20_cifar100.py'\n")
    printed = import_and_run(f"""{WITHOUT_PKG_RESOURCES}
    cfg = Config.fromfile('of_mmpretrain.py')
    print(cfg.train_dataloader.dataset.type, cfg.optim_wrapper.optimizer.lr)
    cfg = Config.fromfile('of_ours.py')
    print(cfg.model.type, cfg.model.get('_scope_'), cfg.default_scope)
    print(get_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py').model.backbone.depth)
    print(is_installed('mmpretrain'), is_installed('mmcv-lite'), is_installed('no_such_package'))
    print(get_installed_path('mmcv-lite') == get_installed_path('mmcv'))
    """)
    assert printed.splitlines() == [
        'CIFAR100 0.1',
        'mmrazor.LAKD None mmpretrain',
        '18',
        'True True False',
        'True',
    ]


def test_unknown_packages_without_pkg_resources(no_pkg_resources):
    with pytest.raises(importlib.metadata.PackageNotFoundError, match='no_such_package'):
        mmengine.utils.get_installed_path('no_such_package')


def test_namespace_package_has_no_path(no_pkg_resources, tmp_path, monkeypatch):
    (tmp_path / 'only_a_folder').mkdir()
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    assert not mmengine.utils.is_installed('only_a_folder')
    with pytest.raises(RuntimeError, match='only_a_folder has no folder of its own'):
        mmengine.utils.get_installed_path('only_a_folder')


def test_upstream_is_asked_where_it_works(monkeypatch):
    monkeypatch.setattr(mmengine_packages, 'HOLDERS', (mmengine.utils,))
    monkeypatch.setattr(mmengine.utils, 'is_installed', lambda package: f'upstream {package}')
    monkeypatch.setattr(mmengine.utils, 'get_installed_path', lambda package: 'upstream path')
    mmengine_packages.do_without_pkg_resources()
    assert mmengine.utils.is_installed('mmpretrain') == 'upstream mmpretrain'
    assert mmengine.utils.get_installed_path('mmpretrain') == 'upstream path'


def test_other_import_errors_are_not_hidden(monkeypatch):
    def broken(package):
        raise ImportError('broken', name='something_else')

    monkeypatch.setattr(mmengine_packages, 'HOLDERS', (mmengine.utils,))
    monkeypatch.setattr(mmengine.utils, 'is_installed', broken)
    mmengine_packages.do_without_pkg_resources()
    with pytest.raises(ImportError, match='broken'):
        mmengine.utils.is_installed('mmpretrain')


@pytest.mark.parametrize('layout', ['.mim/configs', '../configs'])
def test_our_configs_are_found(layout, tmp_path, monkeypatch):
    package = tmp_path / 'lakd_mm'
    config = package / layout / 'method' / 'pair.py'
    package.mkdir()
    config.parent.mkdir(parents=True)
    config.write_text("value = 'here'\n")
    monkeypatch.setattr(mmengine_packages, 'OUR_FOLDER', package)
    heir = tmp_path / 'heir.py'
    heir.write_text("_base_ = 'lakd_mm::method/pair.py'\n")
    assert Config.fromfile(heir).value == 'here'


def test_our_missing_config_suggests_near_names():
    with pytest.raises(FileNotFoundError) as error:
        mmengine_packages.find_our_config('lakd/lakd_r56_r20_cifar1000.py')
    assert "_base_ 'lakd_mm::lakd/lakd_r56_r20_cifar1000.py'" in str(error.value)
    assert 'Did you mean lakd/lakd_r56_r20_cifar100.py' in str(error.value)


@pytest.mark.parametrize(
    'name', ['resnet/resnet18_8xb16_cifar10.py', '_base_/schedules/cifar10_bs128.py']
)
def test_configs_are_found_where_mmengine_finds_them(name, monkeypatch):
    """Without reading all metafiles of the package."""
    upstream = inspect.unwrap(Config._get_cfg_path)(f'mmpretrain::{name}', '')
    monkeypatch.setattr(mmengine.config.utils, 'load', None)
    assert Config._get_cfg_path(f'mmpretrain::{name}', '') == upstream


def test_a_config_that_is_absent_is_looked_for_in_the_metafiles():
    with pytest.raises(FileNotFoundError, match='configs/resnet/absent.py'):
        Config._get_cfg_path('mmpretrain::resnet/absent.py', 'my.py')


@pytest.mark.parametrize(
    'path, why',
    [
        ('/a/file.py', 'it takes package::folder/name.py'),
        ('lakd_mm::teachers/resnet32_digits.py', 'it takes package::folder/name.py'),
        ('mmpretrain::resnet18.py', 'it takes package::folder/name.py'),
        ('mmpretrain::resnet/absent.py', 'file ".*absent.py" does not exist'),
    ],
)
def test_a_path_that_names_no_config_of_a_package(path, why):
    remedy = r'Name a config of an OpenMMLab package, .*, or write the network itself in place of'
    with pytest.raises(ConfigError, match=rf"^cfg_path='{path}': {why}\. {remedy} cfg_path"):
        MODELS.build(dict(cfg_path=path))
