"""Networks, losses and ways to train them, registered in MMRazor's ``MODELS``."""

from .algorithms import LAKD, Cohort, Distill
from .backbones import (
    CIFARVGG,
    CBAMCIFARResNet,
    CBAMResNet,
    CBAMResNet_CIFAR,
    CIFARMobileNetV2,
    CIFARResNet,
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
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
    CorrelationCongruenceLoss,
    DecoupledKDLoss,
    FactorTransferLoss,
    FGDLoss,
    NDAMFeatureLoss,
    NeuronSelectivityLoss,
    PositionAttentionLoss,
    ProbabilisticTransferLoss,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    SimilarityPreservingLoss,
    SingularVectorLoss,
    StandardizedKLLoss,
    VariationalInformationLoss,
)
from .students import GradientDetachStudent
from .teachers import TeacherEnsemble
