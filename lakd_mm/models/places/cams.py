"""Where class activation maps come from: a feature map, and a head that is linear in its mean."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError
from .layouts import Layout, as_map
from .probe import first_of, images_for, in_eval_mode, runs_on
from .taps import find_classifier
from .trace import last_map
from .upper_part import upper_part

_OUTPUT, _INPUT = 'mmrazor.ModuleOutputs', 'mmrazor.ModuleInputs'


def cam_place(network: nn.Module, input_shape: Sequence[int], whose: str, trained: bool) -> dict:
    """Find how to record a network's class activation maps.

    They are exact where the logits are an affine function of a map's mean over its positions. That
    is tried on noise: for the map that the neck makes of several, for the backbone's last output
    or, where that is no map, for what the module that pools gets, or else the last map that all of
    the backbone passes.

    Args:
        network (nn.Module): A classifier.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.
        whose (str): What they are for, for messages.
        trained (bool): Whether the network is trained, when BatchNorm is not linear.

    Returns:
        dict: The place: ``recorder``, ``record`` and ``connector``.

    Raises:
        ConfigError: If the head is not linear in a pooled map; says why.
    """
    network = first_of(network)
    with in_eval_mode(network), runs_on(network, input_shape), torch.no_grad():
        place, feature, head = _map_and_head(network, input_shape, whose)
        constant = _logits(head(torch.zeros_like(feature)), whose)
        # Large, for with the small weights of an untrained network a curve is nearly straight.
        generator = torch.Generator().manual_seed(1)
        maps = 1000 * torch.randn(2, *feature.shape, generator=generator).to(feature)
        _check_linear(*maps, head, constant, whose)
        name = find_classifier(network)
        weight = network.get_submodule(name).weight
        pooled = maps[0].mean((2, 3))
        plain = weight.shape[1] == pooled.shape[1]
        plain = plain and _close(pooled @ weight.T, head(maps[0]) - constant)
    if plain:
        cam = dict(type='mmrazor.CAMConnector', classifier=name)
    elif place['recorder']['source'] != 'backbone':
        raise ConfigError(
            f'{whose}: the head has more than one linear layer and lies inside the backbone; give '
            f'a distiller with recorders instead'
        )
    else:
        behind = [m for part in (network.neck, network.head) if part for m in part.modules()]
        if trained and any(isinstance(module, _BatchNorm) for module in behind):
            raise ConfigError(
                f'{whose}: BatchNorm behind the pooling is not linear in training, so there are no '
                f'class activation maps; leave them out (LAKD: attention_loss=None)'
            )
        cam = dict(type='mmrazor.HeadCAMConnector')
    if 'connector' in place:
        cam = dict(place['connector'], connector=cam)
    return dict(place, connector=cam)


def _map_and_head(
    network: nn.Module, input_shape: Sequence[int], whose: str
) -> tuple[dict, torch.Tensor, Callable]:
    """Return the place of the last map, that map of noise, and what follows it."""
    images = images_for(network, input_shape)
    block = None
    if all(hasattr(network, part) for part in ('backbone', 'neck', 'head')):
        features = network.backbone(images)
        last = features[-1] if isinstance(features, (tuple, list)) else None
        is_map = isinstance(last, torch.Tensor) and last.ndim == 4
        if is_map and len(features) > 1 and network.neck:
            # Such as HRNet's, which makes one map of those of all resolutions.
            block = last_map(network, input_shape, whole=True)
            block = block if block and block.name.startswith('neck.') else None
        if is_map and block is None:

            def head(feature):
                values = (*features[:-1], feature)
                return network.head(network.neck(values) if network.neck else values)

            recorder = dict(type=_OUTPUT, source='backbone')
            return dict(recorder=recorder, record=dict(data_idx=-1)), last, head
    block = block or last_map(network, input_shape)
    if block is None or block.index is not None:
        raise ConfigError(
            f'{whose}: no map that all of the network passes, so there are no class activation '
            f'maps; leave them out (LAKD: attention_loss=None)'
        )
    found: list = []
    pooled: dict[str, list] = {}

    def note(name):
        def hook(module, args, output):
            if name == block.name:
                found.append(output)
            elif found and _is_mean(args, output):
                pooled.setdefault(name, []).append(args[0])

        return hook

    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.enter_context(module.register_forward_hook(note(name)))
        stack.enter_context(torch.enable_grad())
        logits = _logits(network(images.requires_grad_(), mode='tensor'), whose)
        (gradient,) = torch.autograd.grad(logits.square().sum(), found[0])
    # Behind an activation that the network shares among its layers, or that is no module.
    other = [n for n, maps in pooled.items() if len(maps) == 1 and maps[0] is not found[0]]
    if other:
        pool, part = network.get_submodule(other[-1]), upper_part(network, other[-1], input_shape)
        place = dict(recorder=dict(type=_INPUT, source=other[-1]), record=dict(data_idx=0))
        return place, pooled[other[-1]][0].detach(), lambda feature: part(pool(feature))
    layout = block.layout
    if not as_map(gradient, layout.kind, layout.size).any():
        raise ConfigError(
            f'{whose}: it predicts from a class token, not from its maps, so there are no class '
            f'activation maps; leave them out (LAKD: attention_loss=None)'
        )
    part = upper_part(network, block.name, input_shape)
    record = found[0].detach()
    place = dict(recorder=dict(type=_OUTPUT, source=block.name), record={})
    if layout.kind != 'map':
        place['connector'] = layout.connector()
    map_ = as_map(record, layout.kind, layout.size)
    return place, map_, lambda feature: part(_as_record(feature, record, layout))


def _is_mean(args: tuple, output: Any) -> bool:
    """Return whether a module gives the mean over the positions of a map, its only input."""
    if len(args) != 1 or not all(isinstance(t, torch.Tensor) for t in (*args, output)):
        return False
    map_ = args[0]
    if map_.ndim != 4 or map_.shape[2:].numel() == 1 or output.numel() != map_.shape[:2].numel():
        return False
    return _close(output.flatten(), map_.mean((2, 3)).flatten())


def _logits(output: Any, whose: str) -> torch.Tensor:
    """Return what a network predicts with; raise if that is not one tensor."""
    if not isinstance(output, torch.Tensor):
        raise ConfigError(
            f'{whose}: it predicts with a {type(output).__name__}, not with one tensor, so there '
            f'are no class activation maps; leave them out (LAKD: attention_loss=None)'
        )
    return output


def _as_record(feature: torch.Tensor, record: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Put a map into a record of its layout; other tokens stay those of the record."""
    if layout.kind == 'tokens':
        tokens = feature.flatten(2).transpose(1, 2)
        return torch.cat([record[:, : record.shape[1] - tokens.shape[1]], tokens], dim=1)
    if layout.kind == 'channels_last':
        return feature.permute(0, 2, 3, 1).contiguous()
    return feature


def _check_linear(
    feature: torch.Tensor,
    other: torch.Tensor,
    head: Callable,
    constant: torch.Tensor,
    whose: str,
):
    """Raise unless the logits are affine in the map's mean over positions."""
    remedy = 'so there are no class activation maps; leave them out (LAKD: attention_loss=None)'
    logits, others = head(feature), head(other)
    # Contiguous, as a network's own map is: what follows may view it.
    mean = other.mean((2, 3), keepdim=True).expand_as(other).contiguous()
    if not _close(head(mean), others):
        raise ConfigError(
            f'{whose}: it predicts from more than the mean of its last map over positions, {remedy}'
        )
    if not _close(head(feature + other) + constant, logits + others):
        raise ConfigError(
            f'{whose}: a normalization or hidden layer behind the pooling makes the head not '
            f'linear in the pooled map, {remedy}'
        )


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-3 * expected.norm())
