"""What ``lakd-mm doctor`` reports: what is installed, repaired, computed on, and absent."""

import importlib
import importlib.util
import platform
import re
import runpy
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

from packaging.requirements import Requirement

PACKAGE = Path(__file__).resolve().parents[1] / 'lakd_mm'
# For the work on the project itself, and names for several extras together.
NO_FEATURES = {'tests', 'docs', 'optional'}


def installed(name: str) -> Optional[str]:
    """Return the release of a package, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirement_rows() -> list[dict]:
    """Return what the package needs to be imported, what is here, and whether it fits."""
    version = runpy.run_path(str(PACKAGE / 'version.py'))
    rows = []
    for text in (*version['REQUIREMENTS'], version['MMCV']):
        others = version['ALTERNATIVES'].get(Requirement(text).name, ())
        wanted = [Requirement(one) for one in (text, *others)]
        found = {one: release for one in wanted if (release := installed(one.name))}
        fits = any(one.specifier.contains(r, prereleases=True) for one, r in found.items())
        rows.append(
            {
                'package': ' or '.join(one.name for one in found or wanted),
                'found': ' and '.join(found.values()) or 'not installed',
                'wanted': str(next(iter(found), wanted[0]).specifier) or 'any',
                'fits': 'yes' if fits and len(found) == 1 else 'NO',
            }
        )
    return rows


def optional_rows() -> list[dict]:
    """Return the optional packages, what is here of them, and the extras that install them."""
    extras: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires('lakd_mm') or []
    except metadata.PackageNotFoundError:
        return []
    for text in requirements:
        requirement = Requirement(text)
        found = re.search(r'extra == [\'"]([\w-]+)[\'"]', str(requirement.marker))
        if found and found.group(1) not in NO_FEATURES:
            extras.setdefault(requirement.name, []).append(found.group(1))
    return [
        {'package': name, 'found': installed(name) or '-', 'extra': ' '.join(names)}
        for name, names in sorted(extras.items(), key=lambda item: item[1])
    ]


def import_package() -> tuple[Optional[Any], str]:
    """Import the package; return it, or None, and why not."""
    try:
        return importlib.import_module('lakd_mm'), ''
    except Exception as error:
        return None, f'{type(error).__name__}: {error}'


def device_lines() -> list[str]:
    """Return what torch computes on, and where bfloat16 is arithmetic of the device."""
    import torch

    from lakd_mm.engine.config_checks import cpu_has_bf16
    from lakd_mm.engine.hardware import cpu_name

    lines = []
    for i in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(i)
        bf16 = 'bf16' if torch.cuda.is_bf16_supported() else 'no bf16'
        lines.append(f'GPU {i}: {card.name}, {card.total_memory / 2**30:.0f} GiB, {bf16}')
    if not lines:
        built = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPUs only'
        lines.append(f'GPU: none; torch is built for {built}')
    bf16 = 'bf16' if cpu_has_bf16() else 'no bf16 arithmetic (--amp would be slower)'
    return [*lines, f'CPU: {cpu_name()}, {torch.get_num_threads()} threads, {bf16}']


def repair_rows() -> list[dict]:
    """Return what ``import lakd_mm`` repairs; each does nothing where upstream is healthy."""
    from lakd_mm.compat import REPAIRS

    modules = {name: importlib.import_module(f'lakd_mm.compat.{name}') for name in REPAIRS}
    return [
        {'repair': name, 'what': re.sub(r'`|\.$|;.*', '', module.__doc__.splitlines()[0])}
        for name, module in modules.items()
    ]


def interpreter_line() -> str:
    """Return the release of Python and the system."""
    return f'Python {platform.python_version()} at {sys.executable}, {platform.platform()}'
