import re
from importlib import metadata

import pytest

from lakd_mm.compat.versions import check_versions
from lakd_mm.version import REQUIREMENTS


def test_installed_releases_are_accepted():
    check_versions(REQUIREMENTS)


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


def test_full_mmcv_counts_as_mmcv_lite(monkeypatch):
    def version(name):
        if name == 'mmcv':
            return '2.1.0'
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', version)
    check_versions(['mmcv-lite>=2.0.0,<=2.1.0'])


def test_local_and_pre_releases_count(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '2.11.0rc1+cpu')
    check_versions(['torch>=2.6,<3'])
