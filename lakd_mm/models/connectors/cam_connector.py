"""Class activation maps, from a feature map and the classifier's weight."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from .attached_connector import AttachedConnector


@MODELS.register_module()
class CAMConnector(AttachedConnector):
    """Turn the last feature map into class activation maps.

    ``A_k = sum_c W_kc F_c``, where W is the weight of the classifier that follows global average
    pooling, without its bias (`Learning Deep Features for Discriminative Localization
    <https://arxiv.org/abs/1512.04150>`_). CAT-KD replaces the pooling and the classifier by a
    1x1 convolution to get them; pooling and a linear map commute, so the maps are the same. The
    weight belongs to the network, so a student's maps also train its classifier.

    A :class:`LocalDistiller` attaches it to the network whose records it converts.

    Args:
        classifier (str): Name of the linear layer. Defaults to 'head.fc'.
    """

    wanted = 'linear layer'

    def __init__(self, classifier: str = 'head.fc'):
        super().__init__(classifier)

    def fits(self, module: nn.Module) -> bool:
        """Return whether a module is a linear layer."""
        return isinstance(module, nn.Linear)

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Map a feature of shape (N, C, H, W) to activation maps of shape (N, K, H, W)."""
        return F.conv2d(feature, self.layer.weight[:, :, None, None])
