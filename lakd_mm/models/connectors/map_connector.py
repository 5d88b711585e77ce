"""Maps from sequences of tokens, at another size and width."""

from collections.abc import Sequence
from typing import Optional

import torch
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS

from ...errors import ConfigError
from ..losses.pooling import average_pool
from ..places.layouts import as_map

_KINDS = ('map', 'tokens', 'channels_last')


@MODELS.register_module()
class MapConnector(BaseConnector):
    """Turn a record into a map (N, C, H, W), pool it, and pass it to a further connector.

    Args:
        kind (str): 'map', (N, C, H, W); 'tokens', (N, L + H * W, C), of which the first L, such as
            a class token, are left out; or 'channels_last', (N, H, W, C). Defaults to 'map'.
        grid (Sequence[int], optional): (H, W) of tokens. Defaults to None.
        size (Sequence[int], optional): Height and width to which the map is pooled. Defaults to
            None, it keeps its own.
        connector (dict, optional): Config of the connector that gets the map. Defaults to None.

    Raises:
        ConfigError: If ``kind`` is unknown, is 'tokens' without a ``grid``, or another one with it.

    Examples:
        >>> connector = dict(type='mmrazor.MapConnector', kind='tokens', grid=(14, 14))
    """

    def __init__(
        self,
        kind: str = 'map',
        grid: Optional[Sequence[int]] = None,
        size: Optional[Sequence[int]] = None,
        connector: Optional[dict] = None,
    ):
        super().__init__()
        if kind not in _KINDS:
            raise ConfigError(
                f'MapConnector: kind={kind!r} is none of {", ".join(map(repr, _KINDS))}'
            )
        if kind == 'tokens' and grid is None:
            raise ConfigError("MapConnector: kind='tokens' needs grid=(H, W); give it")
        if kind != 'tokens' and grid is not None:
            raise ConfigError(
                f'MapConnector: grid={tuple(grid)} would be ignored with kind={kind!r}; leave '
                f'it out'
            )
        self.kind = kind
        self.grid = None if grid is None else tuple(grid)
        self.size = None if size is None else tuple(size)
        self.connector = None if connector is None else MODELS.build(connector)

    def forward_train(self, feature: torch.Tensor) -> torch.Tensor:
        """Map a record of this kind to shape ``(N, C, *size)``, or to what the connector makes."""
        feature = as_map(feature, self.kind, self.grid)
        if self.size is not None:
            feature = average_pool(feature, self.size)
        return feature if self.connector is None else self.connector(feature.contiguous())
