"""Networks, losses and the ways to train them, registered in MMRazor's ``MODELS``."""

from .algorithms import LAKD, LocalDistill
from .backbones import CIFARResNet
from .connectors import CAMConnector
from .data_preprocessor import CropFlipDataPreprocessor
from .distillers import LocalDistiller
from .losses import CATLoss, NDAMFeatureLoss
from .students import GradientDetachStudent

__all__ = [
    'LAKD',
    'CAMConnector',
    'CATLoss',
    'CIFARResNet',
    'CropFlipDataPreprocessor',
    'GradientDetachStudent',
    'LocalDistill',
    'LocalDistiller',
    'NDAMFeatureLoss',
]
