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
    """Keep layers out of channels-last memory whose backward in it corrupts the heap on a CPU.

    With PyTorch 2.11 these are 1x1 convolutions of stride 2 with fewer than 16 input channels
    (stride 3, groups and larger kernels are not), and GroupNorm whose weights are trained while its
    input needs no gradient, as behind a cut or a frozen stem. The weight is made contiguous, in
    place, and so is the input in each forward that needs it.

    Args:
        network (nn.Module): Its other layers stay as they are.

    Returns:
        List[str]: The layers, which the log names once.
    """
    found, new = [], []
    for name, module in network.named_modules():
        hook = _contiguous_input if _is_unsafe(module) else None
        if isinstance(module, nn.GroupNorm) and module.affine:
            hook = _contiguous_constant
        if hook is None:
            continue
        found.append(name)
        # Not contiguous(), for which the strides of a 1x1 kernel are right already.
        module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
        if hook not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(hook)
            new.append(name)
    if new:
        print_log(
            f'{", ".join(new)}: kept out of channels-last memory where the backward in it corrupts '
            f'memory (1x1 convolutions of stride 2 with fewer than {_SAFE_CHANNELS} channels, '
            f'GroupNorm of an input without a gradient).',
            logger='current',
        )
    return found


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


def _contiguous_constant(module: nn.Module, args: tuple) -> Optional[tuple]:
    return None if args[0].requires_grad else _contiguous_input(module, args)
