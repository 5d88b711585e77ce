"""The base of metrics that need the networks, not only their predictions."""

from typing import Any, Optional, Union

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ..errors import ConfigError
from ..models.data_preprocessor import with_default_type
from ..models.teachers import brings_weights, build_teacher, load_teacher


class NetworkMetric(BaseMetric):
    """Base of metrics that compare a student with its teacher.

    A metric without a teacher of its own uses the run's: the frozen teacher of a distillation,
    which :class:`ModelForMetricsHook` passes to it.

    Args:
        teacher (dict | BaseModel | list, optional): A classifier or its config, or a list of them,
            a :class:`TeacherEnsemble`. Defaults to None, the teacher of the run.
        teacher_ckpt (str | list, optional): Its checkpoint, a path or URL, which must fit exactly.
            Defaults to None, for a teacher that brings its weights, by ``init_cfg`` or by what
            makes it.
        data_preprocessor (dict, optional): Prepares images for that teacher, like the
            ``data_preprocessor`` of a config.
        collect_device (str): Where results of several processes are collected, 'cpu' or 'gpu'.
            Defaults to 'cpu'.
        prefix (str, optional): Prefix of the reported names.

    Raises:
        ConfigError: If one of teacher, checkpoint and preprocessor is given without the others, the
            checkpoint does not fit, or the teacher has random weights.
    """

    def __init__(
        self,
        teacher: Union[dict, BaseModel, None] = None,
        teacher_ckpt: Optional[str] = None,
        data_preprocessor: Optional[dict] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.name = type(self).__name__
        self.model: Optional[BaseModel] = None
        self.teacher: Optional[BaseModel] = None
        self.data_preprocessor = None
        needed = dict(teacher=teacher, data_preprocessor=data_preprocessor)
        absent = [key for key, value in needed.items() if value is None]
        if absent and not (len(absent) == len(needed) and teacher_ckpt is None):
            self._ask_for(absent)
        if teacher is not None:
            made = not isinstance(teacher, BaseModel)
            teacher = build_teacher(teacher)
            if teacher_ckpt is not None:
                load_teacher(teacher, teacher_ckpt)
            elif made and not brings_weights(teacher):
                self._ask_for(['teacher_ckpt'])
            device = get_device()
            self.teacher = teacher.requires_grad_(False).eval().to(device)
            self.data_preprocessor = MODELS.build(with_default_type(data_preprocessor)).to(device)

    def _ask_for(self, absent: list[str]):
        raise ConfigError(
            f'{self.name}: give {" and ".join(absent)} too; teacher, teacher_ckpt (of one without '
            f'weights of its own) and data_preprocessor belong together (with none of them it is '
            f"the run's teacher)"
        )

    @property
    def uses_runs_teacher(self) -> bool:
        """Return whether the teacher is the run's own."""
        return self.model is not None and self.teacher is getattr(self.model, 'teacher', None)

    def use_model(self, model: BaseModel, batch: Any):
        """Take the run's model before it runs; :class:`ModelForMetricsHook` calls this.

        Args:
            model (BaseModel): An algorithm, or a plain classifier if this metric has a teacher of
                its own.
            batch (dict): Two images from the data loader, to try the metric on.

        Raises:
            ConfigError: If there is no teacher.
        """
        self.model = model
        if self.teacher is None:
            self.teacher = getattr(model, 'teacher', None)
        if self.data_preprocessor is None:
            self.data_preprocessor = model.data_preprocessor
        self.check_teacher()

    def check_teacher(self):
        """Raise a ConfigError if there is no teacher."""
        if self.teacher is None:
            raise ConfigError(
                f'{self.name} needs a teacher. Give it teacher=…, teacher_ckpt=… and '
                f"data_preprocessor=…, or, in a distillation, add dict(type='mmrazor."
                f"ModelForMetricsHook') to custom_hooks, which passes it the run's own"
            )

    def prepare(self, data_batch: Any) -> torch.Tensor:
        """Prepare the images of a batch for the networks, shape (N, C, H, W)."""
        if not isinstance(data_batch, dict) or 'inputs' not in data_batch:
            raise ConfigError(
                f'{self.name} runs networks on the images, but the batch is a '
                f'{type(data_batch).__name__} without inputs'
            )
        # A preprocessor may change its argument, and the run still needs this batch.
        return self.data_preprocessor(dict(inputs=data_batch['inputs']), training=False)['inputs']


def sample_indices(data_samples: list, name: str) -> list[int]:
    """Return each image's index in its data set; raise for the metric ``name`` without one."""
    indices = [sample.get('sample_idx') for sample in data_samples]
    if None in indices:
        raise ConfigError(
            f'{name} tells images apart by sample_idx, which the samples do not have. Leave '
            f"'sample_idx' in the meta_keys of PackInputs"
        )
    return [int(index) for index in indices]
