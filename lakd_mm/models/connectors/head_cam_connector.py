"""Class activation maps through a whole head that is linear."""

import torch
import torch.nn as nn
from mmrazor.registry import MODELS

from .attached_connector import AttachedConnector


@MODELS.register_module()
class HeadCAMConnector(AttachedConnector):
    """Turn the last feature map into class activation maps by the head, position by position.

    ``A(p) = head(F(p)) - head(0)``, where F(p) is the map at one position. Where the head is affine
    in the map's mean, the mean of A over positions is the logits without their bias, as for a
    single linear layer (:class:`CAMConnector`); that is for heads with two classifiers whose mean
    they give, for linear hidden layers, or for BatchNorm in eval mode.

    A :class:`LocalDistiller` attaches it to the network whose records it converts, whose head is
    trained by it too.
    """

    wanted = 'head'

    def __init__(self):
        # The network itself.
        super().__init__('')

    def fits(self, module: nn.Module) -> bool:
        """Return whether a module is a classifier with a head."""
        return hasattr(module, 'neck') and hasattr(module, 'head')

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Map a feature of shape (N, C, H, W) to activation maps of shape (N, K, H, W)."""
        n, c, h, w = feature.shape
        points = feature.permute(0, 2, 3, 1).reshape(n * h * w, c, 1, 1)
        scores = self._logits(points) - self._logits(torch.zeros_like(points[:1]))
        return scores.unflatten(0, (n, h, w)).permute(0, 3, 1, 2)

    def _logits(self, points: torch.Tensor) -> torch.Tensor:
        network = self.layer
        return network.head(network.neck((points,)) if network.neck else (points,))
