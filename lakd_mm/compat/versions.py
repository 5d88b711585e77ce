"""A check of the installed releases, before any of them is imported."""

import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement

# The full mmcv holds the files of mmcv-lite, and the compiled ops.
ALTERNATIVES = {'mmcv-lite': ('mmcv-lite', 'mmcv')}


def installed_version(package: str) -> str:
    """Return the installed release of ``package``.

    Raises:
        importlib.metadata.PackageNotFoundError: If it is not installed.
    """
    for name in ALTERNATIVES.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise metadata.PackageNotFoundError(package)


def check_versions(requirements: Iterable[str]) -> None:
    """Check that every required package is installed in the wanted range.

    Args:
        requirements (Iterable[str]): Requirements as pip reads them, such as
            ``'torch>=2.6,<3'``.

    Raises:
        ImportError: If one is missing or out of range. The message gives for each the release that
            was found, the wanted range and the command that installs it.
    """
    problems, to_install = [], []
    for text in requirements:
        requirement = Requirement(text)
        try:
            found = installed_version(requirement.name)
        except metadata.PackageNotFoundError:
            found = 'not installed'
        else:
            if requirement.specifier.contains(found, prereleases=True):
                continue
        wanted = f'{requirement.specifier}' or 'any release'
        problems.append(f'  {requirement.name}: found {found}, wanted {wanted}')
        to_install.append(f'"{text}"')
    if problems:
        raise ImportError(
            'lakd_mm does not work with what is installed:\n'
            + '\n'.join(problems)
            + f'\nTo repair it: {sys.executable} -m pip install {" ".join(to_install)}'
        )
