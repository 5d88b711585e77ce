"""Pooling to a given size whose backward is deterministic on every device."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def average_pool(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Compute the means of ``F.adaptive_avg_pool2d``, whose backward is not deterministic on CUDA.

    Window i of n covers the rows from ``floor(i H / n)`` up to ``ceil((i + 1) H / n)``, exclusive.

    Args:
        x (torch.Tensor): Shape (N, C, H, W), of a floating type.
        size (Sequence[int]): Height and width of the result, smaller or larger than (H, W).

    Returns:
        torch.Tensor: Shape (N, C, *size), of the same type; ``x`` itself if it has that size.
    """
    if x.shape[2:] == tuple(size):
        return x
    kernel = _dividing_kernel(x, size)
    if kernel:
        return F.avg_pool2d(x, kernel)
    # As adaptive pooling does, sum at least in float32, under autocast too.
    dtype = torch.promote_types(x.dtype, torch.float32)
    rows, columns = (inside.to(dtype) for inside in _windows(x, size))
    rows, columns = (w / w.sum(dim=1, keepdim=True) for w in (rows, columns))
    with torch.autocast(x.device.type, enabled=False):
        return (rows @ x.to(dtype) @ columns.T).to(x.dtype)


def max_pool(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Compute the maxima of ``F.adaptive_max_pool2d``; arguments as in :func:`average_pool`."""
    kernel = _dividing_kernel(x, size)
    if kernel:
        return F.max_pool2d(x, kernel)
    rows, columns = _windows(x, size)
    x = x[:, :, None].where(rows[:, :, None], -torch.inf).amax(dim=3)
    return x[:, :, :, None].where(columns, -torch.inf).amax(dim=4)


def _dividing_kernel(x: torch.Tensor, size: Sequence[int]) -> tuple[int, ...]:
    """Return height and width of the windows if they divide the map, else nothing."""
    sides = list(zip(x.shape[2:], size))
    if any(side % windows for side, windows in sides):
        return ()
    return tuple(side // windows for side, windows in sides)


def _windows(x: torch.Tensor, size: Sequence[int]) -> list[torch.Tensor]:
    """Tell which rows, and which columns, are in each window: shapes (windows, side)."""
    inside = []
    for side, windows in zip(x.shape[2:], size):
        position = torch.arange(side, device=x.device)
        window = torch.arange(windows, device=x.device)[:, None]
        start, end = window * side // windows, ((window + 1) * side - 1) // windows
        inside.append((position >= start) & (position <= end))
    return inside
