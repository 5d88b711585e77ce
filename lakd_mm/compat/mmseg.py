"""Repairs of MMSegmentation's networks."""

import sys

from .mmpretrain import repair_train


def apply() -> None:
    """Apply every repair of this module, if MMSegmentation is installed.

    If it is installed, MMRazor has imported it already; we do so only when a config asks for it.
    """
    if 'mmseg' in sys.modules:
        repair_train('mmseg')
