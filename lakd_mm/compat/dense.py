"""Detection and segmentation: checks that they are installed, and repairs of their networks."""

import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError

# By package: its name, and our extra that installs it.
EXTRAS = {'mmdet': ('MMDetection', 'detection'), 'mmseg': ('MMSegmentation', 'segmentation')}


def check_dense_package(package: str, what: str) -> None:
    """Raise a ConfigError if ``what`` names MMDetection or MMSegmentation, and it cannot run.

    It needs MMCV with its compiled ops. Other packages pass.
    """
    if package not in EXTRAS:
        return
    name, extra = EXTRAS[package]
    if importlib.util.find_spec(package) is None:
        problem = f'{name} ({package}), which is not installed'
    elif importlib.util.find_spec('mmcv._ext') is None:
        problem = f'{name}, which needs the full mmcv; the installed mmcv-lite has no compiled ops'
    else:
        return
    raise ConfigError(
        f'{what} needs {problem}. In a checkout: make install-dense. Elsewhere, in an environment '
        f'of its own: pip install --no-build-isolation "lakd_mm[{extra}]" (builds mmcv, see '
        f'requirements/dense.txt)'
    )


def check_dense_network(cfg: Any, what: str) -> None:
    """Check a network's config in the same way, by its scope, type or ``cfg_path``."""
    if isinstance(cfg, Mapping):
        for key in ('_scope_', 'type', 'cfg_path'):
            value = cfg.get(key)
            if isinstance(value, str):
                check_dense_package(value.partition('::')[0].partition('.')[0], what)


def apply() -> None:
    """Repair the networks of what is installed, which MMRazor has imported already."""
    from .mmpretrain import repair_train  # too early above, for a check before its repairs

    for package in EXTRAS:
        if package in sys.modules:
            repair_train(package)
