"""Connectors, which convert a record before a loss compares it."""

from .cam_connector import CAMConnector
from .head_cam_connector import HeadCAMConnector
from .map_connector import MapConnector
from .margin_connector import MarginConnector, batchnorm_margin
from .saliency_mask import SaliencyMask, gradient_saliency, integrated_gradients
