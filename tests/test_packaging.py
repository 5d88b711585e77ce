import ast
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement

from lakd_mm.version import REQUIREMENTS

SOURCES = ['lakd_mm', 'lakd_mm_cli', 'configs', 'tools', 'requirements']
FILES = ['setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'model-index.yml']
BUILD_SDIST = 'import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])'
# Run in a process that has only the unpacked wheel of ours.
TRAIN = """
import runpy, sys, lakd_mm
print('package:', lakd_mm.__file__)
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def wheel(root, tmp_path_factory):
    """The unpacked wheel that comes from the source distribution, both built from a copy."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in SOURCES:
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        if (root / name).exists():
            shutil.copy(root / name, source)

    def python(*arguments):
        subprocess.run([sys.executable, *arguments], cwd=source, check=True, capture_output=True)

    python('-c', BUILD_SDIST, folder)
    (sdist,) = folder.glob('*.tar.gz')
    python('-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps', '-w', folder, sdist)
    (built,) = folder.glob('*.whl')
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / 'unpacked')
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert modes['lakd_mm/.mim/tools/dist_train.sh'] & stat.S_IXUSR
    return folder / 'unpacked'


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.mark.slow
def test_wheel_holds_everything(wheel, root):
    mim = wheel / 'lakd_mm' / '.mim'
    assert not any(path.is_symlink() for path in mim.rglob('*'))
    assert files_below(mim / 'configs') == files_below(root / 'configs')
    assert files_below(mim / 'tools') == files_below(root / 'tools')
    assert (mim / 'model-index.yml').read_text() == (root / 'model-index.yml').read_text()
    modules = {name for name in files_below(root / 'lakd_mm') if name.endswith('.py')}
    assert {name for name in files_below(wheel / 'lakd_mm') if '.mim' not in name} == {
        name for name in modules if '.mim' not in name
    }


@pytest.mark.slow
def test_wheel_trains_from_another_folder(wheel, run, tmp_path):
    """A short config that inherits ours, under the train.py that the wheel carries."""
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'lakd_mm::teachers/resnet14_digits.py'\n"
        'model = dict(backbone=dict(depth=8))\n'
        'train_dataloader = dict(dataset=dict(indices=64))\n'
        'train_cfg = dict(max_epochs=1)\n'
    )
    tool = wheel / 'lakd_mm/.mim/tools/train.py'
    result = run(sys.executable, '-c', TRAIN, tool, 'mine.py', PYTHONPATH=str(wheel))
    assert result.returncode == 0, result.stdout
    assert f'package: {wheel}/lakd_mm/__init__.py' in result.stdout
    assert (tmp_path / 'work_dirs' / 'mine' / 'epoch_1.pth').is_file()


def read_metadata(wheel):
    """What the wheel requires, and the names of what each of its extras requires."""
    (metadata,) = wheel.glob('*.dist-info/METADATA')
    required, extras = [], {}
    for line in metadata.read_text().splitlines():
        if line.startswith('Requires-Dist:'):
            requirement = Requirement(line.partition(': ')[2])
            if requirement.marker is None:
                required.append(requirement)
            else:
                name = str(requirement.marker).partition('extra == ')[2].strip('"')
                extras.setdefault(name, set()).add(requirement.name)
    return required, extras


def read_pins(root):
    lines = (root / 'requirements/runtime.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith('#')]
    return {pin.name: pin for pin in pins}


@pytest.mark.slow
def test_pins_are_in_the_ranges(root, wheel):
    pins = read_pins(root)
    declared, _ = read_metadata(wheel)
    assert {Requirement(text).name for text in REQUIREMENTS} <= {one.name for one in declared}
    for requirement in declared:
        if requirement.name in pins:
            (pin,) = pins[requirement.name].specifier
            assert pin.operator == '==' and pin.version in requirement.specifier
    # What an upstream package fails to declare would otherwise be missing.
    assert {'joblib', 'setuptools'} <= {one.name for one in declared} & pins.keys()


@pytest.mark.slow
def test_extras(wheel):
    """Each section of requirements/optional.txt is an extra, all together are ``optional``."""
    _, extras = read_metadata(wheel)
    assert extras['onnx'] == {'onnx', 'onnxruntime', 'onnxscript'}
    assert extras['figures'] == {'grad-cam'}
    assert extras['masks'] == {'captum'} and extras['robustness'] == {'torchmetrics'}
    assert extras['tune'] == {'optuna'} and extras['completion'] == {'shtab'}
    assert extras['detection'] == {'mmcv', 'mmdet'}
    assert extras['segmentation'] == {'mmcv', 'mmsegmentation', 'ftfy', 'regex'}
    assert extras['optional'] >= extras['onnx'] | extras['figures'] | extras['tensorboard']
    assert extras['wandb'] == {'wandb'} <= extras['optional']
    assert extras['export'] == extras['onnx']
    assert extras['analysis'] == extras['figures'] | extras['masks'] | extras['robustness']
    assert extras['dense'] == extras['detection'] | extras['segmentation']


def third_party_imports(path):
    """Top-level names that a file imports, and whether it does so as soon as it is loaded."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            yield name.partition('.')[0], node in tree.body


@pytest.mark.slow
def test_what_is_imported_is_declared(wheel, root):
    """What loads with the package is required, what loads when used is required or an extra."""
    declared, extras = read_metadata(wheel)
    required = {requirement.name for requirement in declared}
    optional = required.union(*extras.values())
    known = packages_distributions()
    files = [f for part in ('lakd_mm', 'lakd_mm_cli', 'tools') for f in (root / part).rglob('*.py')]
    files = [file for file in files if '.mim' not in file.parts]
    ours = {'lakd_mm', *(file.stem for file in files), *(file.parent.name for file in files)}
    found = set()
    for file in files:
        for name, at_once in third_party_imports(file):
            # Of mmcv and mmcv-lite, `import lakd_mm` asks for one.
            if name not in {*sys.stdlib_module_names, *ours, 'mmcv'}:
                found.add(name)
                allowed = required if at_once else optional
                assert allowed & set(known[name]), f'{file} imports {name}: not in setup.py'
    assert found >= {'torch', 'numpy', 'cv2', 'matplotlib', 'sklearn', 'captum'}


def write_wheel(folder, name, version, files=()):
    """A distribution of these files, by their path, and nothing else."""
    info = f'{name.replace("-", "_")}-{version}.dist-info'
    with zipfile.ZipFile(folder / f'{info[:-10]}-py3-none-any.whl', 'w') as archive:
        texts = {
            **dict(files),
            f'{info}/METADATA': f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n',
            f'{info}/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        }
        record = ''.join(f'{path},,\n' for path in [*texts, f'{info}/RECORD'])
        for path, text in {**texts, f'{info}/RECORD': record}.items():
            archive.writestr(path, text)


@pytest.mark.slow
def test_a_full_mmcv_is_left_alone(wheel, root, run, tmp_path):
    """Pip installs the wheel beside an mmcv; all else that it may ask for is in the index."""
    index = tmp_path / 'index'
    index.mkdir()
    for name, pin in read_pins(root).items():
        files = {'mmcv/__init__.py': 'lite'} if name == 'mmcv-lite' else {}
        write_wheel(index, name, next(iter(pin.specifier)).version, files)
    write_wheel(index, 'mmcv', '2.1.0', {'mmcv/__init__.py': 'full', 'mmcv/_ext.so': 'ops'})
    result = run(sys.executable, '-m', 'venv', '--without-pip', 'venv')
    assert result.returncode == 0, result.stdout
    pip = [sys.executable, '-m', 'pip', '--python', tmp_path / 'venv/bin/python']
    options = ['install', '--no-index', '--no-compile', '--find-links', index]
    (built,) = wheel.parent.glob('*.whl')
    for package in ('mmcv', built):
        result = run(*pip, *options, package)
        assert result.returncode == 0, result.stdout
    (site,) = (tmp_path / 'venv').glob('lib/python*/site-packages')
    assert (site / 'lakd_mm' / '__init__.py').is_file()
    assert next(site.glob('torch-*.dist-info'), None)
    assert not list(site.glob('mmcv_lite*'))
    assert (site / 'mmcv/__init__.py').read_text() == 'full'
    assert (site / 'mmcv/_ext.so').read_text() == 'ops'


def test_model_index_names_files_that_exist(root):
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    assert index['Import']
    for name in index['Import']:
        metafile = yaml.safe_load((root / name).read_text())
        assert metafile['Models']
        for model in metafile['Models']:
            assert (root / model['Config']).is_file(), model['Config']


@pytest.fixture
def checkout(root, tmp_path):
    """Makefile and .ci/run over an environment whose Python does as ``PYTEST_EXIT`` says."""
    shutil.copytree(root / '.ci', tmp_path / '.ci')
    shutil.copytree(root / 'requirements', tmp_path / 'requirements')
    for name in ('Makefile', 'setup.py', 'pyproject.toml'):
        shutil.copy(root / name, tmp_path)
    programs = tmp_path / '.venv' / 'bin'
    programs.mkdir(parents=True)
    for name, code in {'python': '${PYTEST_EXIT:-0}', 'ruff': '${RUFF_EXIT:-0}'}.items():
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> calls\n'
            f'case "$*" in *pip*) exit 0;; *) exit {code};; esac\n'
        )
        (programs / name).chmod(0o755)
    return tmp_path


def calls(checkout):
    text = (checkout / 'calls').read_text()
    (checkout / 'calls').unlink()
    return [line.replace(' --disable-pip-version-check', '') for line in text.splitlines()]


def test_ci(checkout, run):
    install = [
        'python -m pip install -r requirements/runtime.txt',
        'python -m pip install --no-build-isolation --no-deps -e .',
        'python -m pip install -r requirements/tests.txt',
    ]
    docs = ['python -m pip install -r requirements/docs.txt']
    site = ['python -m sphinx -E -a -W --keep-going -q -b html docs docs/_build/html']
    tests = ['ruff check', 'ruff format --check', 'python -m pytest -n 2 --dist worksteal -rs']
    assert run(checkout / '.ci/run').returncode == 0
    assert calls(checkout) == [*install[:2], *docs, *site, install[2], *tests]
    # Installed already: the second call goes straight to the tests.
    assert run(checkout / '.ci/run').returncode == 0
    assert calls(checkout) == site + tests
    # 1: a test failed; 5: none was found.
    for code in ('1', '5'):
        assert run(checkout / '.ci/run', PYTEST_EXIT=code).returncode != 0
    assert run(checkout / '.ci/run', RUFF_EXIT='1').returncode != 0


def test_a_changed_pin_is_installed(checkout, run):
    assert run('make', 'install').returncode == 0
    assert run('make', '-q', 'install').returncode == 0
    stamp = (checkout / '.venv/.installed-runtime').stat()
    os.utime(checkout / 'requirements/runtime.txt', (stamp.st_mtime + 1, stamp.st_mtime + 1))
    assert run('make', '-q', 'install').returncode == 1


@pytest.mark.parametrize(
    'body, code', [('assert True', 0), ('assert False', 1), ('pytest.skip()', 5), ('', None)]
)
def test_a_run_without_tests_fails(run, root, tmp_path, body, code):
    shutil.copy(root / 'tests' / 'conftest.py', tmp_path)
    if body:
        (tmp_path / 'test_it.py').write_text(f'import pytest\ndef test_it():\n    {body}\n')
    result = run(sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', tmp_path)
    assert result.returncode == (5 if code is None else code), result.stdout
