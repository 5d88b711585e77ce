"""Distillation losses: pure functions of tensors, a thin module over each."""

from .cat_loss import CATLoss, class_attention
from .ndam_feature_loss import NDAMFeatureLoss, activation_mapping, normalized_mapping

__all__ = [
    'CATLoss',
    'NDAMFeatureLoss',
    'activation_mapping',
    'class_attention',
    'normalized_mapping',
]
