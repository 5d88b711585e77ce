"""Repairs of MMDetection's networks."""

import sys

from .mmpretrain import repair_train


def apply() -> None:
    """Applies every repair of this module, where MMDetection is installed.

    MMRazor has imported it then; nothing of ours does before a config asks for it.
    """
    if 'mmdet' in sys.modules:
        repair_train('mmdet')
