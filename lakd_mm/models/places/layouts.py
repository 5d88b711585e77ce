"""How records hold maps: as maps, as tokens, or with the channels last."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch

from ..nested import tensors_in


class Layout(NamedTuple):
    """How a record holds a map.

    Attributes:
        size (Tuple[int, int]): Height and width of the map.
        channels (int): Its channels.
        kind (str): 'map', (N, C, H, W); 'tokens', (N, L + H * W, C), with L other tokens in front;
            or 'channels_last', (N, H, W, C).
    """

    size: tuple[int, int]
    channels: int
    kind: str

    def connector(self, **kwargs) -> dict:
        """Return the config of the connector that turns such a record into a map."""
        grid = tuple(self.size) if self.kind == 'tokens' else None
        return dict(type='mmrazor.MapConnector', kind=self.kind, grid=grid, **kwargs)


def as_map(record: torch.Tensor, kind: str, grid: Optional[Sequence[int]]) -> torch.Tensor:
    """Return the map, shape (N, C, H, W), that a record of a kind holds; a view of it.

    Args:
        record (torch.Tensor): A record, see :class:`Layout`.
        kind (str): See :class:`Layout`.
        grid (Sequence[int], optional): Height and width, for tokens.
    """
    if kind == 'tokens':
        tokens = record[:, record.shape[1] - grid[0] * grid[1] :]
        return tokens.transpose(1, 2).unflatten(2, grid)
    return record.permute(0, 3, 1, 2) if kind == 'channels_last' else record


def layout_of(shape: Sequence[int], input_shape: Sequence[int]) -> Optional[Layout]:
    """Find how a tensor of some shape holds a map of images of shape (C, H, W), None if not."""
    height, width = input_shape[-2:]

    def fits(h, w):
        # Strides round up, so sides are equal to one position.
        return h <= 2 * height and abs(h * width - w * height) <= max(height, width)

    if len(shape) == 4:
        square = height == width
        if shape[1] == shape[2] != shape[3] and square and shape[2] <= height:
            return Layout((shape[1], shape[2]), shape[3], 'channels_last')
        return Layout((shape[2], shape[3]), shape[1], 'map')
    # A vector of pooled features may have one position behind it.
    if len(shape) == 3 and shape[2] > 1:
        # At most a class token and one of distillation are in front.
        for extra in (0, 1, 2):
            for h in range(1, shape[1] - extra + 1):
                w, rest = divmod(shape[1] - extra, h)
                if not rest and h * width == w * height and fits(h, w):
                    return Layout((h, w), shape[2], 'tokens')
    return None


def only_tensor(output: Any) -> tuple[Optional[int], Optional[torch.Tensor]]:
    """Return the tensor that a module gives, alone or beside other things, and its index there."""
    if isinstance(output, torch.Tensor):
        return None, output
    if isinstance(output, (tuple, list)):
        found = [i for i, value in enumerate(output) if isinstance(value, torch.Tensor)]
        if len(found) == 1 and len(tensors_in(output)) == 1:
            return found[0], output[found[0]]
    return None, None
