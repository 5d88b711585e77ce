"""The memory format in which networks compute, where it is safe."""

from collections.abc import Callable
from typing import Optional

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import BaseModel

from ...errors import ConfigError
from ..places.probe import reads_memory_as_contiguous

# With fewer channels PyTorch 2.11 writes past its buffers on a CPU, see keep_contiguous.
_SAFE_CHANNELS = 16


def in_memory_format(
    channels_last: Optional[bool],
    student: BaseModel,
    teacher: BaseModel,
    prepare: Callable[[bool], object],
):
    """Put the student into channels-last memory format where that is wanted and safe.

    Args:
        channels_last (bool, optional): None to choose it where it is safe.
        student (BaseModel): The student; its weights are changed in place.
        teacher (BaseModel): The teacher; it is not changed.
        prepare (Callable[[bool], object]): Runs both networks; gets whether they compute in
            channels-last memory format. Called again without it if they do not run in it.

    Raises:
        ConfigError: If it is wanted and not safe, or the networks do not run in it.
    """
    contiguous = reads_memory_as_contiguous(student, teacher)
    if channels_last and contiguous:
        raise ConfigError(
            'channels_last=True: compiled ops of MMCV (RoIAlign, deformable convolutions) in '
            'these networks would read such memory wrongly; leave it out'
        )
    chosen = not contiguous if channels_last is None else channels_last
    if chosen:
        student.to(memory_format=torch.channels_last)
    # Images may be in channels-last format although the networks are not.
    keep_contiguous(student)
    try:
        prepare(chosen)
    except RuntimeError as error:
        if not chosen or 'view size is not compatible' not in str(error):
            raise
        if channels_last:
            raise ConfigError(
                'channels_last=True: one of the networks does not run in channels-last memory '
                'format; leave it out'
            ) from error
        print_log(
            'One of the networks does not run in channels-last memory format, so both compute in '
            'contiguous memory.',
            logger='current',
        )
        student.to(memory_format=torch.contiguous_format)
        prepare(False)


def keep_contiguous(network: nn.Module) -> list[str]:
    """Keep 1x1 convolutions of stride 2 and few input channels out of channels-last memory.

    On a CPU their backward in that format corrupts the heap with PyTorch 2.11 (fewer than 16
    channels; stride 3, groups and larger kernels do not). Their weight is made contiguous, in
    place, and so is their input in each forward.

    Args:
        network (nn.Module): Its other layers stay as they are.

    Returns:
        List[str]: The layers, which the log names once.
    """
    found = {name: module for name, module in network.named_modules() if _is_unsafe(module)}
    new = []
    for name, module in found.items():
        # Not contiguous(), for which the strides of a 1x1 kernel are right already.
        module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
        if _contiguous_input not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_contiguous_input)
            new.append(name)
    if new:
        print_log(
            f'{", ".join(new)}: kept out of channels-last memory, in which the backward of a 1x1 '
            f'convolution of stride 2 with fewer than {_SAFE_CHANNELS} channels corrupts memory.',
            logger='current',
        )
    return list(found)


def _is_unsafe(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < _SAFE_CHANNELS
    )


def _contiguous_input(module: nn.Module, args: tuple) -> Optional[tuple]:
    if args[0].device.type != 'cpu':
        return None
    return (args[0].clone(memory_format=torch.contiguous_format), *args[1:])
