"""Connectors that read a layer of the network whose records they convert."""

import torch.nn as nn
from mmrazor.models.architectures.connectors.base_connector import BaseConnector

from ...errors import ConfigError, near_names


class AttachedConnector(BaseConnector):
    """Base of connectors that a :class:`LocalDistiller` attaches to a layer of a network.

    The layer remains part of the network: the connector reads its current weights, and neither
    saves nor optimises it a second time.

    Args:
        layer_name (str): Name of the layer.

    Attributes:
        wanted (str): The required kind of layer, for messages.
    """

    wanted = 'layer'

    def __init__(self, layer_name: str):
        super().__init__()
        self._layer_name = layer_name
        self._attached = ()

    def fits(self, module: nn.Module) -> bool:
        """Return whether this connector can read a module."""
        raise NotImplementedError

    def attach(self, model: nn.Module):
        """Read the layer of ``model`` from now on.

        Raises:
            ConfigError: If ``model`` has no such layer.
        """
        modules = dict(model.named_modules())
        name = self._layer_name
        if name not in modules or not self.fits(modules[name]):
            fitting = [other for other, module in modules.items() if self.fits(module)]
            raise ConfigError(
                f'{type(self).__name__}: {type(model).__name__} has no {self.wanted} {name!r}; '
                f'{near_names(name, fitting)}'
            )
        # A tuple keeps PyTorch from registering the layer as a submodule of this one.
        self._attached = (modules[name],)

    @property
    def layer(self) -> nn.Module:
        """Return the layer.

        Raises:
            RuntimeError: If the connector is not attached.
        """
        if not self._attached:
            raise RuntimeError(
                f'{type(self).__name__} is attached to no network; use it in a '
                f'mmrazor.LocalDistiller'
            )
        return self._attached[0]
