"""Load a frozen teacher, and keep it out of checkpoints."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import torch.nn as nn
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint

from ...errors import ConfigError, MissingCheckpointError, misfit

# Moving averages hold the model as `module`, a cohort each member as `members.NAME`.
_OF_TEACHER = re.compile(r'(module\.)?(members\.\w+\.)?teacher\.')


def load_teacher(teacher: BaseModel, checkpoint: Union[str, Sequence[str]]):
    """Load a teacher's checkpoint, which must fit exactly.

    Args:
        teacher (BaseModel): The network.
        checkpoint (str | Sequence[str]): Path or URL; of a :class:`TeacherEnsemble` one for each
            of its teachers.

    Raises:
        ConfigError: If keys are missing or unexpected, or shapes differ; the message names them. If
            there is not one checkpoint for each teacher.
        MissingCheckpointError: If the file does not exist; for one in ``work_dirs`` the message
            names the command that trains it.
    """
    others = list(getattr(teacher, 'others', []))
    if isinstance(checkpoint, (list, tuple)) or others:
        if not isinstance(checkpoint, (list, tuple)) or len(checkpoint) != 1 + len(others):
            raise ConfigError(
                f'teacher_ckpt={checkpoint!r}: give a list of checkpoints, one for each of the '
                f'{1 + len(others)} teachers in their order'
            )
        own = teacher.first() if others else teacher
        for member, file in zip((own, *others), checkpoint):
            load_teacher(member, file)
        teacher._is_init = True
        return
    try:
        load_checkpoint(teacher, str(checkpoint), map_location='cpu', strict=True)
    except MissingCheckpointError as error:
        run = Path(checkpoint).parent
        if run.parent.name != 'work_dirs':
            raise
        raise MissingCheckpointError(
            f'{error}\nA teacher that is not trained yet: tools/train.py '
            f'configs/teachers/{run.name}.py; one from elsewhere: --cfg-options '
            f'model.teacher_ckpt=PATH'
        ) from None
    except RuntimeError as error:
        backbone = getattr(teacher, 'backbone', teacher)
        described = f'{type(backbone).__name__} (depth={getattr(backbone, "depth", "?")})'
        raise ConfigError(
            f'model.teacher_ckpt={checkpoint!r} is not a checkpoint of the configured teacher, '
            f'a {described}. Give one that is, or change model.teacher to what it was trained '
            f'with. {misfit(error)}'
        ) from None
    # Otherwise MMEngine would initialise the weights again at the start of training.
    teacher._is_init = True


def keep_teacher_out(algorithm: nn.Module):
    """Keep the ``teacher`` out of an algorithm's checkpoints, and let them load without it."""
    algorithm._register_state_dict_hook(_leave_out_teacher)
    algorithm.register_load_state_dict_post_hook(_do_not_miss_teacher)


def _leave_out_teacher(module, state_dict, prefix, local_metadata):
    """Keep the teacher's weights out of a checkpoint."""
    for key in list(state_dict):
        if _OF_TEACHER.match(key.removeprefix(prefix)):
            del state_dict[key]


def _do_not_miss_teacher(module, incompatible_keys):
    """Accept a checkpoint without the teacher's weights, which are loaded already."""
    missing = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if not _OF_TEACHER.match(key)]
