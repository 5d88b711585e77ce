"""Networks, losses and ways to train them, registered in MMRazor's ``MODELS``."""

from .algorithms import LAKD, Cohort, Distill
from .backbones import (
    CIFARVGG,
    CBAMCIFARResNet,
    CBAMResNet,
    CBAMResNet_CIFAR,
    CIFARResNet,
    CIFARWideResNet,
)
from .classifiers import ModuleClassifier
from .connectors import (
    CAMConnector,
    HeadCAMConnector,
    MapConnector,
    MarginConnector,
    SaliencyMask,
)
from .data_preprocessor import CropFlipDataPreprocessor
from .distillers import LocalDistiller
from .losses import (
    AttentionTransferLoss,
    CanKDLoss,
    CATLoss,
    CausalATLoss,
    CausalFALoss,
    ChannelAttentionLoss,
    ContrastiveAttentionLoss,
    ContrastiveRepresentationLoss,
    FGDLoss,
    NDAMFeatureLoss,
    PositionAttentionLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
)
from .students import GradientDetachStudent
