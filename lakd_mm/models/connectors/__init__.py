"""What stands between a record and a loss."""

from .cam_connector import CAMConnector
from .margin_connector import MarginConnector, batchnorm_margin
from .saliency_mask import SaliencyMask, gradient_saliency, integrated_gradients

__all__ = [
    'CAMConnector',
    'MarginConnector',
    'SaliencyMask',
    'batchnorm_margin',
    'gradient_saliency',
    'integrated_gradients',
]
