"""LAKD and related methods for MMRazor and MMPretrain.

A config only needs to import the package (``custom_imports = dict(imports=['lakd_mm'])``). The
import checks the installed releases, repairs what is broken between them, and registers everything
below in MMRazor's registries.
"""

# ruff: noqa: E402  (the check and the repairs come before all other imports)
from .compat.versions import check_versions
from .version import MMCV, REQUIREMENTS, __version__

check_versions((*REQUIREMENTS, MMCV))

from . import compat

compat.apply()

from . import datasets, engine, evaluation, models, visualization
