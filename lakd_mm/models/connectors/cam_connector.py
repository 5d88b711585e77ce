"""Class activation maps from a feature map and the classifier's weight."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names


@MODELS.register_module()
class CAMConnector(BaseConnector):
    """Turn the last feature map into class activation maps.

    ``A_k = sum_c W_kc F_c`` with W the weight of the classifier behind global average pooling, no
    bias (`Learning Deep Features for Discriminative Localization
    <https://arxiv.org/abs/1512.04150>`_). CAT-KD replaces the pooling and the classifier by a 1x1
    convolution to get them; pooling and a linear map commute, so the maps are the same. The weight
    is the network's own, live: a student's classifier is trained through it.

    A :class:`LocalDistiller` attaches it to the network whose records it converts.

    Args:
        classifier (str): Name of the linear layer. Defaults to 'head.fc'.
        init_cfg (dict, optional): Defaults to None.
    """

    def __init__(self, classifier: str = 'head.fc', init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.classifier = classifier
        self._attached = ()

    def attach(self, model: nn.Module):
        """Read the classifier of ``model`` from now on.

        Raises:
            ConfigError: If ``model`` has no such linear layer.
        """
        modules = dict(model.named_modules())
        layer = modules.get(self.classifier)
        if not isinstance(layer, nn.Linear):
            linears = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
            raise ConfigError(
                f'CAMConnector: {type(model).__name__} has no linear layer {self.classifier!r}; '
                f'{near_names(self.classifier, linears)}'
            )
        # In a tuple, so that the layer is not registered a second time as this module's own.
        self._attached = (layer,)

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Map a feature of shape (N, C, H, W) to activation maps of shape (N, K, H, W)."""
        if not self._attached:
            raise RuntimeError(
                'CAMConnector is attached to no network; use it in a mmrazor.LocalDistiller'
            )
        return F.conv2d(feature, self._attached[0].weight[:, :, None, None])
