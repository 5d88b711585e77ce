"""Outputs of layers, recorded without changing the network."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Callable

import torch
import torch.nn as nn

from ..errors import ConfigError
from ..models.nested import tensors_in
from ..models.places.taps import stage_blocks

_INPUT = 'input:'


def record(
    network: nn.Module,
    layers: Sequence[str],
    images: torch.Tensor,
    function: Callable[[torch.Tensor], Any] = torch.clone,
) -> dict[str, Any]:
    """Run a network without gradients, and keep the outputs of its layers.

    Args:
        network (nn.Module): A classifier, in eval mode.
        layers (Sequence[str]): Module names for their outputs, or ``input:<module name>`` for the
            input of that module.
        images (torch.Tensor): Preprocessed, shape (N, C, H, W).
        function (Callable[[torch.Tensor], Any]): Applied at once to each layer's tensor (the last
            one if there are several), so that memory holds only its result. Defaults to a copy.

    Returns:
        Dict[str, Any]: The function's results by layer, in the order of ``layers``.

    Raises:
        ConfigError: If a layer does not run, or has no tensor.
    """
    results = {}

    def keep(layer, module, args, output=None):
        tensors = tensors_in(args if layer.startswith(_INPUT) else output)
        if tensors:
            results[layer] = function(tensors[-1])

    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            module = network.get_submodule(layer.removeprefix(_INPUT))
            before = layer.startswith(_INPUT)
            add = module.register_forward_pre_hook if before else module.register_forward_hook
            hooks.enter_context(add(partial(keep, layer)))
        network(images, mode='tensor')
    absent = [layer for layer in layers if layer not in results]
    if absent:
        raise ConfigError(
            f'{type(network).__name__}: {", ".join(absent)} gave no tensor when the network ran. '
            f'Name other layers (not layers inside a block that torch.compile has compiled)'
        )
    return {layer: results[layer] for layer in layers}


def stem_and_blocks(network: nn.Module) -> list[str]:
    """Name the layers of a residual network: the input of the first block, then each block.

    Raises:
        ConfigError: If it has no residual blocks.
    """
    blocks = [name for stage in stage_blocks(network) for name in stage]
    if not blocks:
        raise ConfigError(
            f'{type(getattr(network, "backbone", network)).__name__} has no residual blocks '
            f'(no layer1, layer2, … or stages); name its layers'
        )
    return [_INPUT + blocks[0], *blocks]


def layer_label(layer: str) -> str:
    """Return a layer's name to show: 'stem', or the module's name within the backbone."""
    return 'stem' if layer.startswith(_INPUT) else layer.removeprefix('backbone.')
