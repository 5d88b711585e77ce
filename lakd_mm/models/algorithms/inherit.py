"""Parts of a student that start with the teacher's weights."""

from collections.abc import Sequence

import torch.nn as nn
from mmengine.logging import print_log

from ...errors import ConfigError, near_names


def check_inherited(student: nn.Module, teacher: nn.Module, names: Sequence[str]):
    """Check that parts of the teacher fit the student.

    Args:
        student (nn.Module): The student.
        teacher (nn.Module): The teacher.
        names (Sequence[str]): Names of modules that both have.

    Raises:
        ConfigError: If one of them has no such module, or keys or shapes of weights differ.
    """
    if isinstance(names, str):
        raise ConfigError(f'inherit={names!r}: give a list of module names')
    for name in names:
        for side, network in (('student', student), ('teacher', teacher)):
            modules = dict(network.named_modules())
            if name not in modules or not name:
                raise ConfigError(
                    f'inherit={list(names)}: the {side} has no {name!r}; '
                    f'{near_names(name, modules)}'
                )
        shapes = [
            {
                key: tuple(value.shape)
                for key, value in network.get_submodule(name).state_dict().items()
            }
            for network in (student, teacher)
        ]
        for key in sorted(shapes[0].keys() | shapes[1].keys()):
            own, theirs = (side.get(key, 'not there') for side in shapes)
            if own != theirs:
                raise ConfigError(
                    f'inherit={list(names)}: {name}.{key} is {own} in the student and {theirs} in '
                    f'the teacher; inherit only equal parts, or none'
                )


def inherit_parts(student: nn.Module, teacher: nn.Module, names: Sequence[str]):
    """Copy the teacher's weights of these parts to the student."""
    for name in names:
        part = teacher.get_submodule(name)
        student.get_submodule(name).load_state_dict(part.state_dict())
        print_log(f"The student's {name} starts from the teacher's.", logger='current')
