"""What a network predicts, and which module gives it."""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn as nn
from mmengine.model import BaseModel

from ...errors import ConfigError
from .probe import images_for, noise_samples, runs_on
from .taps import find_classifier, linear_layers


def find_logits(model: nn.Module, input_shape: Sequence[int], trained: bool = True) -> str:
    """Find the module whose output is what a network predicts; ``find_classifier``'s if it is.

    Args:
        model (nn.Module): A classifier.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for one run on noise.
        trained (bool): Whether it must also give them to its own loss. Defaults to True.

    Returns:
        str: The innermost module; the last linear layer if none gives it as it is.

    Raises:
        ConfigError: If the network has no linear layer, does not run on such images, or is
            ``trained`` and its head has no loss.
    """
    if hasattr(model, 'logits_module'):
        return model.logits_module
    found = []

    def note(name):
        def hook(module, args, output):
            found.append((name, output))

        return hook

    copied = copy.deepcopy(model).eval()
    with ExitStack() as stack, torch.no_grad(), runs_on(model, input_shape):
        for name, module in copied.named_modules():
            if name:
                stack.enter_context(module.register_forward_hook(note(name)))
        result = logits_of(copied, images_for(copied, input_shape))
        # Inner modules end first.
        given = [name for name, output in found if output is result]
        if not given:
            return find_classifier(model)
        plain = given[:1] == linear_layers(model)[-1:]
        if plain or not trained or not hasattr(model, 'head'):
            return given[0]
        # A head may train by other outputs, with a margin.
        found.clear()
        try:
            copied(images_for(copied, input_shape), noise_samples(2, input_shape), mode='loss')
        except NotImplementedError as error:
            raise ConfigError(f'{type(model.head).__name__} cannot be trained: {error}') from error
    return given[0] if given[0] in dict(found) else find_classifier(model)


def logits_of(model: nn.Module, images: torch.Tensor) -> Any:
    """Run a network on images only, whether it is one of OpenMMLab or any other."""
    return model(images, mode='tensor') if isinstance(model, BaseModel) else model(images)
