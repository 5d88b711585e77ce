import re
from importlib import metadata

import pytest

from lakd_mm.compat.versions import check_versions
from lakd_mm.version import MMCV, REQUIREMENTS


def test_installed_releases_are_accepted():
    check_versions((*REQUIREMENTS, MMCV))


@pytest.mark.parametrize('found', ['0.9.0', '1.0.0'])
def test_release_out_of_range_is_named(monkeypatch, found):
    version = metadata.version
    monkeypatch.setattr(
        metadata, 'version', lambda name: found if name == 'mmengine' else version(name)
    )
    with pytest.raises(ImportError) as error:
        check_versions(['torch>=2.6', 'mmengine>=0.10.7,<1.0'])
    message = str(error.value)
    assert re.search(rf'mmengine: found {found}, wanted (>=0.10.7,<1.0|<1.0,>=0.10.7)', message)
    assert '-m pip install "mmengine>=0.10.7,<1.0"' in message
    assert 'torch' not in message


def test_missing_package_is_named():
    with pytest.raises(ImportError, match='no-such-package: found not installed') as error:
        check_versions(['no-such-package'])
    assert '-m pip install "no-such-package"' in str(error.value)


@pytest.fixture
def installed(monkeypatch):
    """Makes these releases, by package, the only ones that are installed."""

    def pretend(**releases):
        def version(name):
            if name in releases:
                return releases[name]
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, 'version', version)

    return pretend


def test_full_mmcv_counts_as_mmcv_lite(installed):
    installed(mmcv='2.1.0')
    check_versions([MMCV])


def test_without_mmcv_both_ways_are_named(installed):
    installed()
    with pytest.raises(ImportError, match='mmcv-lite: found not installed') as error:
        check_versions([MMCV])
    message = str(error.value)
    assert f'-m pip install "{MMCV}"' in message
    assert re.search('the full mmcv .* mim install "mmcv[<>=.,0-9]+"', message)


def test_a_wrong_full_mmcv_is_not_replaced_by_mmcv_lite(installed):
    installed(mmcv='2.2.0')
    with pytest.raises(ImportError, match='mmcv: found 2.2.0') as error:
        check_versions([MMCV])
    assert '-m pip install "mmcv>=2.0.0,<=2.1.0"' in str(error.value)
    assert 'mmcv-lite' not in str(error.value)


ONEDL = {'onedl-mmengine': '0.10.12', 'onedl-mmpretrain': '1.3.6', 'onedl-mmcv': '2.3.6'}


def test_the_packages_of_onedl_count(installed):
    needed = [text for text in REQUIREMENTS if text.startswith(('mmengine', 'mmpretrain'))]
    installed(**ONEDL)
    check_versions([*needed, MMCV])
    installed(**{**ONEDL, 'onedl-mmpretrain': '2.0.0'})
    with pytest.raises(ImportError, match='onedl-mmpretrain: found 2.0.0, wanted') as error:
        check_versions([*needed, MMCV])
    assert '-m pip install "onedl-mmpretrain>=1.3,<1.4"' in str(error.value)


def test_local_and_pre_releases_count(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '2.11.0rc1+cpu')
    check_versions(['torch>=2.6,<3'])
