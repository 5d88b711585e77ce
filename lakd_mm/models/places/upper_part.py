"""The part of a network above a tap, as a function of the tap's output."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
import torch.nn as nn
from mmengine.model import BaseModel

from ...errors import ConfigError
from .probe import images_for, in_eval_mode


class _PassOn(nn.Module):
    """Take the place of a module whose result is given."""

    def forward(self, x, *args, **kwargs):
        return x


def upper_part(
    network: BaseModel, tap: str, input_shape: Sequence[int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make a function that turns a tap's output into logits, without running what is below the tap.

    The function shares every module above the tap with the network, so it uses the current weights.
    One run on noise finds the modules below the tap, which are left out.

    Args:
        network (BaseModel): A classifier.
        tap (str): Name of the tapped module.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for that run.

    Returns:
        Callable[[torch.Tensor], torch.Tensor]: From the tap's output (N, ...) to logits (N, K), in
        eval mode.

    Raises:
        ConfigError: If the part above the tap depends on more than the tap's output, or does not
            let a gradient through.
    """
    place = f'{type(network).__name__} above {tap!r}'
    try:
        with in_eval_mode(network):
            with torch.no_grad():
                feature, logits, below = _watch(network, tap, images_for(network, input_shape))
            part = _cut(network, '', tap, below)
            with torch.enable_grad():
                found = part(feature.detach().requires_grad_(), mode='tensor')
    except ConfigError:
        raise
    except Exception as error:  # whatever fails in code whose earlier part has not run
        raise ConfigError(f'{place} cannot be run by itself: {error}') from error
    if found.shape != logits.shape or (found - logits).norm() > 1e-4 * logits.norm():
        raise ConfigError(
            f'{place} cannot be run by itself: its logits depend on more than the output of that; '
            f'tap a module that the whole network passes through, such as a whole residual block'
        )
    if not found.requires_grad:
        raise ConfigError(f'{place} lets no gradient through')
    # Not a lambda: its copy would run the original part of the network, not a copy.
    return partial(part, mode='tensor')


def _watch(
    network: BaseModel, tap: str, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, set[str]]:
    """Return the tap's output, the logits, and the modules that run only below the tap."""
    features: list = []
    below, above = set(), set()

    def note(name):
        def hook(module, args, output):
            if name == tap:
                features.append(output)
            (above if features else below).add(name)

        return hook

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.enter_context(module.register_forward_hook(note(name)))
        logits = network(images, mode='tensor')
    if len(features) != 1 or not isinstance(features[0], torch.Tensor):
        raise ConfigError(
            f'{tap!r} of {type(network).__name__} runs {len(features)} times or gives no tensor; '
            f'tap a module that runs once and gives one'
        )
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ConfigError(f'{type(network).__name__} gives no logits of shape (N, K)')
    return features[0], logits, below - above


def _cut(module: nn.Module, name: str, tap: str, below: set[str]) -> nn.Module:
    """Copy the modules around the tap; share or skip all others."""
    copied = object.__new__(type(module))
    copied.__dict__ = {**module.__dict__, '_modules': dict(module._modules)}
    for key, child in module.named_children():
        inner = f'{name}.{key}' if name else key
        if inner == tap or inner in below:
            copied._modules[key] = _PassOn()
        elif any(other.startswith(f'{inner}.') for other in (tap, *below)):
            copied._modules[key] = _cut(child, inner, tap, below)
    return copied
