"""A check of the installed releases, before any of them is imported."""

import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement

# The full mmcv holds the files of mmcv-lite, and the compiled ops.
ALTERNATIVES = {'mmcv-lite': ('mmcv-lite', 'mmcv')}


def find_installed(package: str) -> tuple[str, str]:
    """Return the name and the release of ``package``, or of what is installed in its place.

    Raises:
        importlib.metadata.PackageNotFoundError: If neither is installed.
    """
    for name in ALTERNATIVES.get(package, (package,)):
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise metadata.PackageNotFoundError(package)


def check_versions(requirements: Iterable[str]) -> None:
    """Check that every package, such as ``'torch>=2.6,<3'``, is installed in its range.

    Raises:
        ImportError: If one is missing or out of range. The message gives for each the release that
            was found, the wanted range and the command that installs it.
    """
    problems, to_install, advice = [], [], ''
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name
        try:
            name, found = find_installed(name)
        except metadata.PackageNotFoundError:
            found = 'not installed'
        else:
            if requirement.specifier.contains(found, prereleases=True):
                continue
        wanted = f'{requirement.specifier}' or 'any release'
        problems.append(f'  {name}: found {found}, wanted {wanted}')
        to_install.append(f'"{name}{text[len(requirement.name) :]}"')
        if name == 'mmcv-lite':
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
