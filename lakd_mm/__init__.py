"""LAKD and its kin for MMRazor and MMPretrain.

Importing the package is all that a config needs
(``custom_imports = dict(imports=['lakd_mm'])``): it checks the installed releases, repairs what is
broken between them, and registers everything below into MMRazor's registries.
"""

# ruff: noqa: E402  (nothing of the others may be imported before the check and the repairs)
from .compat.versions import check_versions
from .version import MMCV, REQUIREMENTS, __version__

check_versions((*REQUIREMENTS, MMCV))

from . import compat

compat.apply()

from . import datasets, engine, evaluation, models, visualization

__all__ = ['__version__', 'compat', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
