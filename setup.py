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
        """Build, then add the files."""
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
    """Read the requirements of ``requirements/<name>.txt``."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r'))]


def read_extras(*names: str) -> dict:
    """Read the requirements below each comment that begins ``# [extra, another extra]``."""
    extras, sections = {}, []
    for name in names:
        path = ROOT / 'requirements' / f'{name}.txt'
        for line in path.read_text(encoding='utf-8').splitlines():
            if line.startswith('# ['):
                extra_names = line[3 : line.index(']')].split(', ')
                sections = [extras.setdefault(extra, []) for extra in extra_names]
            elif line and not line.startswith('#'):
                for section in sections:
                    section.append(line)
    return extras


setup(
    name='lakd_mm',
    version=VERSION['__version__'],
    description='LAKD, local attention knowledge distillation, for MMRazor and MMPretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    # What has been run.
    python_requires='>=3.10',
    packages=find_packages(include=['lakd_mm', 'lakd_mm.*', 'lakd_mm_cli']),
    entry_points=dict(console_scripts=['lakd-mm = lakd_mm_cli.main:script']),
    cmdclass={'build_py': BuildWithMim},
    # Neither mmcv nor mmcv-lite: `import lakd_mm` asks for one of the two.
    install_requires=[
        *VERSION['REQUIREMENTS'],
        # OpenMMLab's `mim` keeps it at 3.14.
        'filelock>=3.14',
        'matplotlib>=3.8',
        'numpy>=1.26',
        'opencv-python>=4.8',
        'packaging>=23.0',
        'PyYAML>=6.0',
        'rich>=13.4',
        'scikit-learn>=1.3',
        'tabulate>=0.9',
        # MMEngine needs its pkg_resources where `import lakd_mm` has not happened yet.
        'setuptools<82',
    ],
    extras_require={
        **{name: read_requirements(name) for name in ('optional', 'tests', 'docs')},
        **read_extras('optional', 'dense'),
    },
)
