"""A check of the installed releases, before any of them is imported."""

import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement

from ..version import ALTERNATIVES


def find_installed(requirement: str) -> tuple[str, str]:
    """Return what is installed of ``requirement``, or in its place, and its release.

    Raises:
        importlib.metadata.PackageNotFoundError: If nothing is installed.
    """
    name = Requirement(requirement).name
    for text in (requirement, *ALTERNATIVES.get(name, ())):
        try:
            return text, metadata.version(Requirement(text).name)
        except metadata.PackageNotFoundError:
            continue
    raise metadata.PackageNotFoundError(name)


def check_versions(requirements: Iterable[str]) -> None:
    """Check that every package, such as ``'torch>=2.6,<3'``, is installed in its range.

    Raises:
        ImportError: If one is missing or out of range. The message gives for each the release that
            was found, the wanted range and the command that installs it.
    """
    problems, to_install, advice = [], [], ''
    for text in requirements:
        try:
            text, found = find_installed(text)
        except metadata.PackageNotFoundError:
            found = 'not installed'
        requirement = Requirement(text)
        if found != 'not installed' and requirement.specifier.contains(found, prereleases=True):
            continue
        wanted = f'{requirement.specifier}' or 'any release'
        problems.append(f'  {requirement.name}: found {found}, wanted {wanted}')
        to_install.append(f'"{text}"')
        if requirement.name == 'mmcv-lite':
            advice = (
                '\nIn place of mmcv-lite, for detection and segmentation, the full mmcv with its '
                f'compiled ops: mim install "mmcv{requirement.specifier}". Never both: they '
                'overwrite each other.'
            )
    if problems:
        raise ImportError(
            'lakd_mm does not work with what is installed:\n'
            + '\n'.join(problems)
            + f'\nTo repair it: {sys.executable} -m pip install {" ".join(to_install)}'
            + advice
        )
