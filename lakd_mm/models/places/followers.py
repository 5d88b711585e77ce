"""Find the modules that take a tap's output, by running the network once."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
import torch.nn as nn

from ...errors import ConfigError
from ..nested import detached, tensors_in
from .layouts import only_tensor
from .probe import images_for, runs_on
from .taps import find_backbone
from .trace import modules_passed


def find_followers(
    model: nn.Module, taps: Sequence[str], input_shape: Sequence[int]
) -> dict[str, list[str]]:
    """Find the modules that receive each tap's output, by one forward on noise in eval mode.

    Args:
        model (nn.Module): A classifier, of which the ``backbone`` is run, or a bare backbone.
        taps (Sequence[str]): Names of the tapped modules, in the order in which they run.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.

    Returns:
        Dict[str, List[str]]: For each tap the outermost modules of the backbone that take its
        output; the tap itself where its output goes on in another way too, but all of the network
        passes it; none for a tap behind which there is no layer that works on maps or tokens.

    Raises:
        ConfigError: If the network does not run on such images, a tap does not run in it or not in
            order, a tap gives no single tensor, or what runs before a tap reaches what runs
            behind it on another way too.
    """
    prefix, backbone = find_backbone(model)
    outputs: dict[str, torch.Tensor] = {}
    followers: dict[str, list[str]] = {tap: [] for tap in taps}
    calls: Counter[str] = Counter()
    not_last: set[str] = set()

    def record(name):
        def hook(module, args, output):
            outputs[name] = only_tensor(output)[1]
            if outputs[name] is None:
                raise ConfigError(
                    f'tap {name!r} gives a {type(output).__name__}; a tap must give one tensor'
                )

        return hook

    def watch(name):
        def hook(module, args, kwargs):
            calls[name] += 1
            given = tensors_in((args, kwargs))
            # A scale or bias for each channel, as of a normalization, is no layer of its own; what
            # works on vectors is part of the head.
            if (
                given
                and given[0].ndim > 2
                and any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
            ):
                not_last.update(outputs)
            for tap, output in outputs.items():
                if any(tensor is output for tensor in given):
                    followers[tap].append(name)
                    return detached(args), detached(kwargs)
            return None

        return hook

    with ExitStack() as stack, torch.enable_grad(), runs_on(model, input_shape):
        stack.callback(model.train, model.training)
        model.eval()
        for name, module in backbone.named_modules(prefix=prefix[:-1]):
            if name in followers:
                stack.enter_context(module.register_forward_hook(record(name)))
            if module is not backbone:
                hook = module.register_forward_pre_hook(watch(name), with_kwargs=True)
                stack.enter_context(hook)
        result = tensors_in(backbone(images_for(model, input_shape).requires_grad_()))

    if list(outputs) != list(taps):
        raise ConfigError(
            f'taps {list(taps)} must run once each and in this order in the '
            f'{"backbone" if prefix else "network"}, but it runs {list(outputs)}'
        )
    for tap in taps:
        if tap not in not_last:
            followers[tap] = []
    graphs = [_graph(tensor) for tensor in (*outputs.values(), result[-1])]
    open_taps = {}
    for i, tap in enumerate(taps):
        repeated = [name for name in followers[tap] if calls[name] > 1]
        if repeated:
            open_taps[tap] = (
                f'{repeated[0]!r}, which takes its output, runs {calls[repeated[0]]} times; choose '
                f'a tap that another module follows, such as a whole residual block'
            )
        elif followers[tap]:
            isolated = not any(graphs[i] & later for later in graphs[i + 1 :])
        else:
            isolated = tap not in not_last or any(tensor is outputs[tap] for tensor in result)
        if not repeated and not isolated:
            open_taps[tap] = (
                'what runs before it also reaches what runs behind it on another way than through '
                'a module that takes its output; choose a tap that all of it passes, such as a '
                'whole residual block'
            )
    passed = modules_passed(model, input_shape) if open_taps else {}
    for tap, problem in open_taps.items():
        if tap not in passed:
            raise ConfigError(f'tap {tap!r} cannot be isolated: {problem}')
        followers[tap] = [tap]
    return followers


def _graph(tensor: torch.Tensor) -> set:
    """Collect all autograd nodes that a gradient of ``tensor`` reaches."""
    stack, nodes = [tensor.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            stack.extend(parent for parent, _ in node.next_functions)
    return nodes
