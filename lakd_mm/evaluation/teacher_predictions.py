"""Metrics that compare the student's predictions with its teacher's."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from mmengine.model import BaseModel
from mmrazor.registry import METRICS

from ..errors import ConfigError
from .network_metric import NetworkMetric, sample_indices

# By teacher, its predicted classes by image: metrics with the same teacher share them.
_KNOWN: 'WeakKeyDictionary[BaseModel, dict[tuple, int]]' = WeakKeyDictionary()


class TeacherPredictionMetric(NetworkMetric):
    """Base of metrics that compare the student's, the teacher's and the true class.

    The teacher predicts an image once for all metrics and epochs. Its class is stored by
    ``sample_idx`` and by the sum of the image's pixels, so a changed image is predicted again. A
    teacher that is being trained predicts each time.

    Args:
        **kwargs: The teacher, see :class:`NetworkMetric`.
    """

    def use_model(self, model: BaseModel, batch: Any):
        """Take the run's model, see :class:`NetworkMetric`."""
        super().use_model(model, batch)
        self._check_classes(model)
        sample_indices(batch['data_samples'], self.name)
        _KNOWN.pop(self.teacher, None)

    def _check_classes(self, model: BaseModel):
        """Raise if the teacher's classes are not the student's."""
        student = model
        while hasattr(student, 'architecture'):
            student = student.architecture
        numbers = [
            getattr(getattr(network, 'head', None), 'num_classes', None)
            for network in (self.teacher, student)
        ]
        if None not in numbers and numbers[0] != numbers[1]:
            raise ConfigError(
                f'{self.name} compares classes, but the teacher has {numbers[0]} and the student '
                f'{numbers[1]}; leave the metric out'
            )

    def process(self, data_batch: Any, data_samples: Sequence[dict]):
        """Store the student's, the teacher's and the true class of each image of a batch."""
        self.check_teacher()
        student = [
            s['pred_label'].flatten()[0] if 'pred_label' in s else s['pred_score'].argmax()
            for s in data_samples
        ]
        truth = torch.cat([sample['gt_label'] for sample in data_samples])
        teacher = self._predict_or_remember(data_batch, data_samples)
        self.results.extend(zip(torch.stack(student).tolist(), teacher, truth.tolist()))

    def compute_metrics(self, results: list) -> dict:
        """Compare the student's, the teacher's and the true class of each image."""
        return self.compare(*torch.tensor(results, dtype=torch.long).reshape(-1, 3).T)

    def compare(self, student: torch.Tensor, teacher: torch.Tensor, truth: torch.Tensor) -> dict:
        """Compute the reported values from classes, each of shape (N,)."""
        raise NotImplementedError

    def _predict_or_remember(self, data_batch: Any, data_samples: Sequence[dict]) -> list[int]:
        if any(parameter.requires_grad for parameter in self.teacher.parameters()):
            return self._predict(data_batch)
        indices = sample_indices(data_samples, self.name)
        # The images are one tensor or a list.
        sums = [image.sum().item() for image in data_batch['inputs']]
        keys = list(zip(indices, sums))
        known = _KNOWN.setdefault(self.teacher, {})
        if not known.keys() >= set(keys):
            known.update(zip(keys, self._predict(data_batch)))
        return [known[key] for key in keys]

    def _predict(self, data_batch: Any) -> list[int]:
        with torch.no_grad():
            # It gets no data samples: those of the batch hold the student's predictions.
            predictions = self.teacher(self.prepare(data_batch), mode='predict')
        return torch.cat([sample.pred_label for sample in predictions]).tolist()


@METRICS.register_module()
class ExtracurricularKnowledge(TeacherPredictionMetric):
    """Extracurricular knowledge: what the student knows and its teacher does not.

    It is the share of the images that the student gets right among those that the teacher gets
    wrong, Eq. 10 of *LAKD: Activation Mapping Distillation Based on Local Learning*. It reports
    ``percent`` (not a number if the teacher makes no mistake), ``teacher_wrong`` (a count), and
    ``student_right`` (how many of these).

    Args:
        **kwargs: The teacher, see :class:`NetworkMetric`.

    Examples:
        >>> val_evaluator = [
        ...     dict(type='mmpretrain.Accuracy'),
        ...     dict(type='mmrazor.ExtracurricularKnowledge')]
        >>> custom_hooks = [dict(type='mmrazor.ModelForMetricsHook')]
    """

    default_prefix = 'extracurricular_knowledge'

    def compare(self, student: torch.Tensor, teacher: torch.Tensor, truth: torch.Tensor) -> dict:
        """Compute the reported values from classes, each of shape (N,)."""
        wrong = teacher != truth
        errors = int(wrong.sum())
        learnt = int((wrong & (student == truth)).sum())
        percent = 100 * learnt / errors if errors else float('nan')
        return dict(percent=percent, teacher_wrong=errors, student_right=learnt)


@METRICS.register_module()
class TeacherAgreement(TeacherPredictionMetric):
    """How often student and teacher predict the same class.

    It reports ``agreement`` and the teacher's own ``top1``, in percent of the images.

    Args:
        **kwargs: The teacher, see :class:`NetworkMetric`.

    Examples:
        >>> val_evaluator = [
        ...     dict(type='mmpretrain.Accuracy'), dict(type='mmrazor.TeacherAgreement')]
        >>> custom_hooks = [dict(type='mmrazor.ModelForMetricsHook')]
    """

    default_prefix = 'teacher'

    def compare(self, student: torch.Tensor, teacher: torch.Tensor, truth: torch.Tensor) -> dict:
        """Compute the reported values from classes, each of shape (N,)."""
        return dict(
            agreement=100 * (student == teacher).double().mean().item(),
            top1=100 * (teacher == truth).double().mean().item(),
        )
