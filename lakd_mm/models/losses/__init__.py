"""Distillation losses: pure functions of tensors, and a thin module over each."""

from .attention_transfer_loss import AttentionTransferLoss, attention_map, match_sizes
from .cankd_loss import CanKDLoss
from .cat_loss import CATLoss, class_attention
from .causal_attention_loss import CausalATLoss
from .causal_feature_loss import CausalFALoss
from .channel_attention_loss import ChannelAttentionLoss, channel_attention
from .contrastive_attention_loss import ContrastiveAttentionLoss
from .contrastive_representation_loss import ContrastiveRepresentationLoss, noise_contrastive_loss
from .correlation_congruence_loss import CorrelationCongruenceLoss
from .decoupled_kd_loss import DecoupledKDLoss
from .factor_transfer_loss import FactorTransferLoss
from .fgd_loss import FGDLoss
from .ndam_feature_loss import NDAMFeatureLoss, activation_mapping, normalized_mapping
from .neuron_selectivity_loss import NeuronSelectivityLoss
from .position_attention_loss import PositionAttentionLoss, position_attention
from .probabilistic_transfer_loss import ProbabilisticTransferLoss
from .review_kd_loss import ReviewKDLoss
from .rkd_loss import RKDAngleLoss, RKDDistanceLoss
from .similarity_preserving_loss import SimilarityPreservingLoss
from .singular_vector_loss import SingularVectorLoss
from .standardized_kl_loss import StandardizedKLLoss
from .variational_information_loss import VariationalInformationLoss
