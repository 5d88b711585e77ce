"""The part of a network above a tap, as a function of the tap's output."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
import torch.nn as nn
from mmengine.model import BaseModel

from ...errors import ConfigError
from ..nested import map_tensors
from .probe import images_for, in_eval_mode


class _StandIn(nn.Module):
    """Take the place of a module: of the tap, or of one below it, on whose results nothing depends.

    Args:
        features (list): The last one is the tap's output.
        likes (Sequence): What the module gave for two images in each of its calls, on the meta
            device; nothing for the tap.
    """

    def __init__(self, features: list, likes: Sequence = ()):
        super().__init__()
        self.features = features
        self.likes = list(likes)

    def forward(self, *args, **kwargs):
        feature = self.features[-1]
        if not self.likes:
            return feature
        self.likes.append(self.likes.pop(0))
        return map_tensors(partial(_zeros, feature), self.likes[-1])


def _zeros(feature: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Make zeros for as many images as the feature has; code between modules may look at shapes."""
    shape = list(like.shape)
    if shape and shape[0] % 2 == 0:
        shape[0] = shape[0] // 2 * len(feature)
    dtype = feature.dtype if like.is_floating_point() else like.dtype
    return feature.new_zeros(shape, dtype=dtype)


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
            features: list = []
            # Not a closure: its copy would run the original part of the network, not a copy.
            part = partial(_run, _cut(network, '', tap, below, features), features, input_shape)
            with torch.enable_grad():
                found = part(feature.detach().requires_grad_())
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
    return part


def _run(
    network: nn.Module, features: list, input_shape: Sequence[int], feature: torch.Tensor
) -> torch.Tensor:
    """Run the cut network from the tap's output on."""
    features.append(feature)
    try:
        return network(feature.new_zeros(len(feature), *input_shape), mode='tensor')
    finally:
        features.pop()


def _watch(
    network: BaseModel, tap: str, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, dict[str, list]]:
    """Return the tap's output, the logits, and what modules give that run only below the tap."""
    features: list = []
    below: dict[str, list] = {}

    def note(name):
        def hook(module, args, output):
            if name == tap:
                features.append(output)
            if features:
                below.pop(name, None)
            else:
                like = map_tensors(lambda tensor: tensor.to('meta'), output)
                below.setdefault(name, []).append(like)

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
    return features[0], logits, below


def _cut(
    module: nn.Module, name: str, tap: str, below: dict[str, list], features: list
) -> nn.Module:
    """Copy the modules around the tap; share those above it, and put others in for those below."""
    copied = object.__new__(type(module))
    copied.__dict__ = {**module.__dict__, '_modules': dict(module._modules)}
    for key, child in module.named_children():
        inner = f'{name}.{key}' if name else key
        if inner == tap or inner in below:
            copied._modules[key] = _StandIn(features, below.get(inner, ()))
        elif any(other.startswith(f'{inner}.') for other in (tap, *below)):
            copied._modules[key] = _cut(child, inner, tap, below, features)
    return copied
