"""A metric that looks at networks, not at predictions alone."""

from typing import Any, Optional, Union

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ..errors import ConfigError
from ..models.data_preprocessor import with_default_type
from ..models.teachers import load_teacher


class NetworkMetric(BaseMetric):
    """Base of metrics that compare a student with its teacher.

    Without a teacher of its own, such a metric takes the run's: a distillation's frozen teacher,
    which :class:`ModelForMetricsHook` hands over.

    Args:
        teacher (dict | BaseModel, optional): A classifier or its config. Defaults to None, the
            run's own.
        teacher_ckpt (str, optional): Its checkpoint, a path or URL; has to fit exactly.
        data_preprocessor (dict, optional): Prepares images for that teacher, as the
            ``data_preprocessor`` of a config.
        collect_device (str): Where results of several processes meet, 'cpu' or 'gpu'. Defaults to
            'cpu'.
        prefix (str, optional): Stands before the names of what is reported.

    Raises:
        ConfigError: If one of teacher, checkpoint and preprocessor is given without the others, or
            the checkpoint does not fit.
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
        given = dict(
            teacher=teacher, teacher_ckpt=teacher_ckpt, data_preprocessor=data_preprocessor
        )
        if isinstance(teacher, BaseModel):
            given.pop('teacher_ckpt')
        absent = [key for key, value in given.items() if value is None]
        if absent and len(absent) < len(given):
            raise ConfigError(
                f'{self.name}: give {" and ".join(absent)} too; teacher, teacher_ckpt and '
                f"data_preprocessor belong together (with none of them it is the run's teacher)"
            )
        if teacher is not None:
            if isinstance(teacher, dict):
                teacher = MODELS.build(teacher)
            if teacher_ckpt is not None:
                load_teacher(teacher, teacher_ckpt)
            device = get_device()
            self.teacher = teacher.requires_grad_(False).eval().to(device)
            self.data_preprocessor = MODELS.build(with_default_type(data_preprocessor)).to(device)

    @property
    def uses_runs_teacher(self) -> bool:
        """Whether the teacher is the run's own."""
        return self.model is not None and self.teacher is getattr(self.model, 'teacher', None)

    def use_model(self, model: BaseModel, batch: Any):
        """Take the run's model, before it runs; called by :class:`ModelForMetricsHook`.

        Args:
            model (BaseModel): An algorithm, or a plain classifier if this metric has a teacher of
                its own.
            batch (dict): Two images as the data loader gives them, to try the metric on.

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
                f"ModelForMetricsHook') to custom_hooks, which hands it the run's own"
            )

    def prepare(self, data_batch: Any) -> torch.Tensor:
        """Images of a batch as the networks get them, shape (N, C, H, W).

        Args:
            data_batch (dict): As the data loader gives it.
        """
        if not isinstance(data_batch, dict) or 'inputs' not in data_batch:
            raise ConfigError(
                f'{self.name} runs networks on the images, but the batch that it got is a '
                f'{type(data_batch).__name__} without inputs'
            )
        # Preprocessors are free to change what they get; the run goes on with this batch.
        return self.data_preprocessor(dict(inputs=data_batch['inputs']), training=False)['inputs']


def sample_indices(data_samples: list, name: str) -> list[int]:
    """The place of each image in its data set.

    Args:
        data_samples (List[dict]): Samples.
        name (str): Who asks, for the message.

    Raises:
        ConfigError: If samples do not say.
    """
    indices = [sample.get('sample_idx') for sample in data_samples]
    if None in indices:
        raise ConfigError(
            f'{name} tells images apart by sample_idx, which the samples do not have. Leave '
            f"'sample_idx' in the meta_keys of PackInputs"
        )
    return [int(index) for index in indices]
