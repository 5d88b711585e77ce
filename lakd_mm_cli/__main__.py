"""``python -m lakd_mm_cli`` is ``lakd-mm``."""

from .main import script

script()
