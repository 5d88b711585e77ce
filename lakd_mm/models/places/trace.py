"""Stages and blocks of any network, found by running it once on noise."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations, groupby
from math import log2
from typing import Any, NamedTuple, Optional

import torch
import torch.nn as nn
from mmengine.logging import print_log

from ..nested import tensors_in
from .layouts import Layout, layout_of, only_tensor
from .logits import logits_of
from .probe import first_of, images_for, in_eval_mode, runs_on
from .taps import find_backbone, stage_blocks

# How many parts of equal depth a network of one resolution has, where nothing says another number.
_PARTS = 4


class Block(NamedTuple):
    """A module that all of a network's later part depends on, and on nothing before it.

    Attributes:
        name (str): The module's name.
        layout (Layout): Of its output.
        index (int | None): Which part of a tuple its output is, None where it is a tensor.
    """

    name: str
    layout: Layout
    index: Optional[int]


def find_stages(
    model: nn.Module, input_shape: Sequence[int], parts: int = _PARTS
) -> list[list[Block]]:
    """Find a network's stages and their blocks in the order in which they run.

    It runs once on noise. A block is the outermost module of the backbone that holds other layers,
    gives a map or a sequence of tokens, runs once, and that everything behind it depends on, and
    on nothing before it: gradients can be cut there exactly. Containers are no blocks but what is
    in them. In a network without such blocks a block is a layer with weights and what follows it.

    Stages are those of :func:`stage_blocks` if all of them are such blocks; else blocks of one
    resolution. A network of one resolution, as a vision transformer, is divided by depth into
    ``parts`` of (nearly) equal length.

    Args:
        model (nn.Module): A classifier (blocks are searched in its ``backbone``) or a bare network.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.
        parts (int): Defaults to 4.

    Returns:
        List[List[Block]]: Empty if the network gives no map that all of it passes.

    Raises:
        ConfigError: If the network does not run on such images.
    """
    passed = modules_passed(model, input_shape)
    named = stage_blocks(model)
    if named and all(name in passed for stage in named for name in stage):
        stages = [[passed[name][1] for name in stage] for stage in named]
    else:
        blocks = _blocks(model, *find_backbone(model), passed)
        stages = [list(group) for _, group in groupby(blocks, key=lambda b: b.layout.size)]
    if len(stages) == 1:
        # Not the layer that embeds patches, but all the equal ones behind it.
        kinds = [type(model.get_submodule(block.name)) for block in stages[0]]
        most = Counter(kinds).most_common(1)[0][0]
        blocks = [block for block, kind in zip(stages[0], kinds) if kind is most]
        parts = min(parts, len(blocks))
        bounds = [round(i * len(blocks) / parts) for i in range(parts + 1)]
        stages = [blocks[a:b] for a, b in zip(bounds, bounds[1:])]
    return stages


def modules_passed(
    model: nn.Module, input_shape: Sequence[int], whole: bool = False
) -> dict[str, tuple[int, Block]]:
    """Find the modules that all gradients to the images pass; with their place from the end.

    They are those of the backbone or, with ``whole``, of the neck and the head too.
    """
    model = first_of(model)
    prefix, backbone = ('', model) if whole else find_backbone(model)
    calls: Counter[str] = Counter()
    given: dict[str, tuple] = {}

    def note(name):
        def hook(module, args, output):
            calls[name] += 1
            index, tensor = only_tensor(output)
            # Parts of images in the batch are no map of them.
            of_images = tensor is not None and tensor.shape[:1] == images.shape[:1]
            if of_images and tensor.grad_fn is not None:
                layout = layout_of(tensor.shape, input_shape)
                if layout is not None:
                    # The node, since an operation in place would give the tensor another one.
                    given[name] = (tensor.grad_fn, Block(name, layout, index))

        return hook

    images = images_for(model, input_shape).requires_grad_()
    run = (in_eval_mode(model), torch.enable_grad(), runs_on(model, input_shape))
    with ExitStack() as stack:
        for context in run:
            stack.enter_context(context)
        for name, module in backbone.named_modules(prefix=prefix[:-1]):
            if module is not backbone:
                stack.enter_context(module.register_forward_hook(note(name)))
        result = logits_of(model, images)
    order = {node: i for i, node in enumerate(_bottlenecks(tensors_in(result)[-1].grad_fn, images))}
    return {
        name: (order[node], block)
        for name, (node, block) in given.items()
        if node in order and calls[name] == 1
    }


def last_map(model: nn.Module, input_shape: Sequence[int], whole: bool = False) -> Optional[Block]:
    """Return the last one of :func:`modules_passed` that gives a map of several positions."""
    maps = [
        (order, block)
        for order, block in modules_passed(model, input_shape, whole).values()
        if block.layout.size != (1, 1)
    ]
    return min(maps, key=lambda item: item[0])[1] if maps else None


def last_convolution(model: nn.Module, block: Block, input_shape: Sequence[int]) -> str:
    """Return the last layer behind a block that convolves maps of its size; else the block."""
    passed = modules_passed(model, input_shape)
    prefix, backbone = find_backbone(model)
    behind = [
        (order, found)
        for order, found in _outermost(backbone, prefix, passed, leaves=False)
        if order < passed[block.name][0]
        and (found.layout.kind, found.layout.size) == ('map', block.layout.size)
        and any(isinstance(m, nn.Conv2d) for m in model.get_submodule(found.name).modules())
    ]
    return min(behind)[1].name if behind else block.name


def paired_stages(
    student: nn.Module, teacher: nn.Module, input_shape: Sequence[int]
) -> tuple[list[list[Block]], list[list[Block]]]:
    """Pair the stages of two networks: one by one, or by resolution where numbers differ.

    Where numbers differ, each stage of the network with fewer gets the one of the other whose
    resolution is nearest, in order. A network of one resolution has as many parts as the other has
    stages.
    """
    of_both = [find_stages(network, input_shape) for network in (student, teacher)]
    uniform = [len({b.layout.size for s in stages for b in s}) == 1 for stages in of_both]
    for i, network in enumerate((student, teacher)):
        if uniform[i] and of_both[1 - i] and not uniform[1 - i]:
            of_both[i] = find_stages(network, input_shape, len(of_both[1 - i]))
    fewer, more = sorted(of_both, key=len)
    if not fewer or (len(fewer) == len(more) and not any(uniform)):
        return of_both[0], of_both[1]

    def distance(chosen):
        return sum(abs(log2(_area(a) / _area(b))) for a, b in zip(fewer, chosen))

    # The last of equally near choices, for later stages know more of the classes.
    nearest = list(min(reversed(list(combinations(more, len(fewer)))), key=distance))
    pairs = (fewer, nearest) if fewer is of_both[0] else (nearest, fewer)
    text = (
        f'{a[-1].name} {a[-1].layout.size} - {b[-1].name} {b[-1].layout.size}'
        for a, b in zip(*pairs)
    )
    print_log(
        f'The student has {len(of_both[0])} stages and the teacher {len(of_both[1])}; these are '
        f'paired: {"; ".join(text)}.',
        logger='current',
    )
    return pairs


def _area(stage: Sequence[Block]) -> int:
    height, width = stage[-1].layout.size
    return height * width


def _outermost(
    module: nn.Module, prefix: str, passed: dict[str, tuple[int, Block]], leaves: bool
) -> list[tuple[int, Block]]:
    """Collect the outermost modules that are blocks."""
    found = []
    for key, child in module.named_children():
        name = f'{prefix}{key}'
        is_leaf = next(child.children(), None) is None
        container = isinstance(child, (nn.ModuleList, nn.Sequential)) and (
            leaves or any(next(layer.children(), None) is not None for layer in child.children())
        )
        if name in passed and not container and (leaves or not is_leaf):
            found.append(passed[name])
        elif not is_leaf:
            found += _outermost(child, f'{name}.', passed, leaves)
    return found


def _blocks(
    model: nn.Module, prefix: str, root: nn.Module, passed: dict[str, tuple[int, Block]]
) -> list[Block]:
    """Return the blocks of a network in the order in which they run."""
    blocks = _in_order(_outermost(root, prefix, passed, leaves=False))
    if len(blocks) == 1:
        # It may hold the whole network, as where one library wraps another's.
        name = blocks[0].name
        blocks = max(blocks, _blocks(model, f'{name}.', model.get_submodule(name), passed), key=len)
    if len(blocks) < 2:
        layers = _in_order(_outermost(root, prefix, passed, leaves=True))
        blocks = max(blocks, _ends_of_layers(model, layers), key=len)
    return blocks


def _in_order(found: list[tuple[int, Block]]) -> list[Block]:
    """Return blocks in the order in which they run; bottlenecks come from the end."""
    return [block for _, block in sorted(found, key=lambda item: -item[0])]


def _ends_of_layers(model: nn.Module, layers: list[Block]) -> list[Block]:
    """Return what runs last in front of each layer with weights, and the last map."""
    # Maps of one position, and those of a size that a head needs, are the head's.
    modules = [(block, model.get_submodule(block.name)) for block in layers]
    modules = [
        (block, module)
        for block, module in modules
        if block.layout.size != (1, 1) and not isinstance(module, nn.AdaptiveAvgPool2d)
    ]
    weighted = [any(p.ndim > 1 for p in module.parameters()) for _, module in modules]
    return [block for (block, _), last in zip(modules, [*weighted[1:], True]) if last]


def _bottlenecks(last: Any, images: torch.Tensor) -> list:
    """List the nodes that every gradient from the last one to the images passes, from the end."""
    # In an order in which each node comes behind all that use it.
    order, stack, seen = [], [(last, False)], set()
    reaches: dict[Any, bool] = {}
    while stack:
        node, done = stack.pop()
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if done:
            order.append(node)
            own = getattr(node, 'variable', None) is images
            reaches[node] = own or any(reaches[parent] for parent in parents)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in parents if parent not in seen)
    found, ahead = [], {last}
    for node in reversed(order):
        if not reaches[node]:
            continue
        if ahead == {node}:
            found.append(node)
        ahead.discard(node)
        ahead.update(p for p, _ in node.next_functions if p is not None and reaches[p])
    return found
