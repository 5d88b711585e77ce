"""Package metadata, and what makes ``lakd_mm::`` configs and ``mim`` find their files."""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# Run by itself: importing the package would need torch.
VERSION = runpy.run_path(str(ROOT / 'lakd_mm' / 'version.py'))
# What OpenMMLab's tools look for under `<package>/.mim`.
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Puts configs, tools and the model index under ``lakd_mm/.mim/``.

    A wheel gets copies; an editable install gets links, so that edits are seen at once.
    """

    def run(self):
        """Builds, then adds the files."""
        super().run()
        if self.editable_mode:
            self._link(ROOT / 'lakd_mm' / '.mim')
        else:
            self._copy(Path(self.build_lib) / 'lakd_mm' / '.mim')

    @staticmethod
    def _link(mim: Path) -> None:
        mim.mkdir(exist_ok=True)
        for name in MIM_FILES:
            link = mim / name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(os.path.relpath(ROOT / name, mim))

    @staticmethod
    def _copy(mim: Path) -> None:
        # A build folder left by an earlier build may hold files deleted since.
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_FILES:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
                shutil.copytree(source, mim / name, ignore=ignore)
            else:
                shutil.copy2(source, mim / name)


def read_requirements(name: str) -> list:
    """Reads the requirements of ``requirements/<name>.txt``."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r'))]


def read_sections(name: str) -> dict:
    """Reads the requirements below each comment that begins ``# [section]``."""
    sections = {}
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines():
        if line.startswith('# ['):
            section = sections.setdefault(line[3 : line.index(']')], [])
        elif line and not line.startswith('#'):
            section.append(line)
    return sections


setup(
    name='lakd_mm',
    version=VERSION['__version__'],
    description='LAKD, local attention knowledge distillation, for MMRazor and MMPretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.9',
    packages=find_packages(include=['lakd_mm', 'lakd_mm.*']),
    cmdclass={'build_py': BuildWithMim},
    install_requires=[
        # mmcv-lite is the full mmcv of the same release less its compiled ops: beside it, the
        # same files are written again.
        *VERSION['REQUIREMENTS'],
        *read_requirements('analysis'),
        'packaging',
        'scikit-learn>=1.0',
        # MMEngine needs its pkg_resources where `import lakd_mm` has not happened yet.
        'setuptools<82',
    ],
    extras_require={
        **{name: read_requirements(name) for name in ('optional', 'tests', 'docs')},
        **read_sections('optional'),
        **read_sections('dense'),
    },
)
