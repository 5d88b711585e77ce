"""Loading a teacher's weights."""

from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint


def load_teacher(teacher: BaseModel, checkpoint: str):
    """Load a teacher's checkpoint, which has to fit exactly.

    Args:
        teacher (BaseModel): The network.
        checkpoint (str): Path or URL.

    Raises:
        ValueError: If keys are missing or unexpected or shapes differ; they are named.
    """
    try:
        load_checkpoint(teacher, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        if 'do not match exactly' not in str(error):
            raise
        backbone = getattr(teacher, 'backbone', teacher)
        described = f'{type(backbone).__name__} (depth={getattr(backbone, "depth", "?")})'
        raise ValueError(
            f'model.teacher_ckpt={checkpoint!r} is not a checkpoint of the configured teacher, '
            f'a {described}. Give one that is, or change model.teacher to what it was trained '
            f'with.\n{error}'
        ) from None
    # Or MMEngine would initialise the weights again at the start of training.
    teacher._is_init = True
