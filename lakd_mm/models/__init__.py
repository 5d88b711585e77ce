"""Networks, losses and the ways to train them, registered in MMRazor's ``MODELS``."""

from .algorithms import LAKD, Distill
from .backbones import CIFARVGG, CIFARResNet, CIFARWideResNet
from .connectors import CAMConnector, MarginConnector
from .data_preprocessor import CropFlipDataPreprocessor
from .distillers import LocalDistiller
from .losses import (
    AttentionTransferLoss,
    CanKDLoss,
    CATLoss,
    ContrastiveRepresentationLoss,
    FGDLoss,
    NDAMFeatureLoss,
)
from .students import GradientDetachStudent

__all__ = [
    'LAKD',
    'AttentionTransferLoss',
    'CAMConnector',
    'CATLoss',
    'CanKDLoss',
    'CIFARResNet',
    'CIFARVGG',
    'CIFARWideResNet',
    'ContrastiveRepresentationLoss',
    'CropFlipDataPreprocessor',
    'FGDLoss',
    'GradientDetachStudent',
    'Distill',
    'LocalDistiller',
    'MarginConnector',
    'NDAMFeatureLoss',
]
