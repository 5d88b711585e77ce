"""Distance and similarity of the features of student and teacher, tap by tap."""

from collections.abc import Sequence
from typing import Any, Optional

import torch
from mmengine.model import BaseModel
from mmrazor.registry import METRICS

from ..errors import ConfigError
from ..models.places.taps import Tap, resolve_taps, stage_end_taps
from ..models.students import GradientDetachStudent
from .cka import MIN_IMAGES, CKASums, gram
from .features import record
from .network_metric import NetworkMetric, sample_indices


class TapMetric(NetworkMetric):
    """Base of metrics that compare features at pairs of taps of the student and the teacher.

    It needs :class:`ModelForMetricsHook`. Both networks run once more on each image, in eval mode.

    Args:
        student_taps (Sequence[int | str], optional): Residual blocks counted from 1, or module
            names. Defaults to the student's own taps if it has any (LAKD), else to the ends of its
            stages.
        teacher_taps (Sequence[int | str], optional): The teacher's taps, one for each. Defaults to
            those of the algorithm if it has any, else to the ends of the teacher's stages.
        every (int): Use only images whose ``sample_idx`` is a multiple of this. Defaults to 1, all.
        **kwargs: The teacher, see :class:`NetworkMetric`.

    Raises:
        ConfigError: If taps are unknown or do not pair up.
    """

    def __init__(
        self,
        student_taps: Optional[Sequence[Tap]] = None,
        teacher_taps: Optional[Sequence[Tap]] = None,
        every: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(every, int) or every < 1:
            raise ConfigError(f'{self.name}: every={every!r} is not a positive whole number')
        self.every = every
        self.taps = (student_taps, teacher_taps)
        self.pairs: list[tuple[str, str]] = []

    def use_model(self, model: BaseModel, batch: Any):
        """Take the run's model, see :class:`NetworkMetric`, and find its taps."""
        super().use_model(model, batch)
        student = getattr(model, 'student', model)
        own = getattr(student, 'tap_names', None), getattr(model, 'teacher_tap_names', None)
        wrapped = isinstance(student, GradientDetachStudent)
        self.student = student.architecture if wrapped else student
        names = []
        for part, taps, default in zip(('student', 'teacher'), self.taps, own):
            network = getattr(self, part)
            key = f'{self.name}.{part}_taps'
            if taps is None:
                taps = default or stage_end_taps(network)
                if not taps:
                    raise ConfigError(f'{key}: {part} has no stages; name the modules to compare')
            names.append(resolve_taps(network, taps, key))
        if len(names[0]) != len(names[1]):
            counts = ' and '.join(f'{len(taps)} ({", ".join(taps)})' for taps in names)
            raise ConfigError(
                f'{self.name}: student_taps and teacher_taps must pair up, but there are {counts}'
            )
        self.pairs = list(zip(*names))
        modes = {network: network.training for network in (self.student, self.teacher)}
        try:
            for network in modes:
                network.eval()
            features = self.record(self.prepare(batch))
        finally:
            for network, training in modes.items():
                network.train(training)
        self.check(features)

    def check(self, features: list):
        """Raise a ConfigError if the features, a pair for each tap, cannot be compared."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]):
        """Compare the networks on a batch of the data loader."""
        if not self.pairs:
            raise ConfigError(
                f'{self.name} needs the networks, but has none. Add '
                f"dict(type='mmrazor.ModelForMetricsHook') to custom_hooks"
            )
        images = self.prepare(data_batch)
        if self.every > 1:
            indices = sample_indices(data_samples, self.name)
            images = images[[i for i, index in enumerate(indices) if index % self.every == 0]]
        if len(images):
            self.results.extend(self.measure(self.record(images)))

    def record(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Record the features of the student and of the teacher at each tap."""
        sides = zip((self.student, self.teacher), zip(*self.pairs))
        return list(zip(*(record(network, names, images).values() for network, names in sides)))

    def measure(self, features: list[tuple[torch.Tensor, torch.Tensor]]) -> list:
        """Turn features into results that can be collected from several processes."""
        raise NotImplementedError


@METRICS.register_module()
class TapDistances(TapMetric):
    """Squared distance between student and teacher features: Fig. 5 of the LAKD paper.

    It reports ``tap1``, ``tap2``, …: the mean over images and elements of (F_S - F_T)^2, which is
    the feature loss of Eq. 5 in eval mode and without weights.

    Args:
        **kwargs: Taps and teacher, see :class:`TapMetric`.

    Raises:
        ConfigError: If features differ in shape.

    Examples:
        >>> val_evaluator = [
        ...     dict(type='mmpretrain.Accuracy'), dict(type='mmrazor.TapDistances', every=10)]
        >>> custom_hooks = [dict(type='mmrazor.ModelForMetricsHook')]
    """

    default_prefix = 'tap_distance'

    def check(self, features: list):
        """Raise a ConfigError if features differ in shape."""
        for (student, teacher), (s, t) in zip(self.pairs, features):
            if s.shape != t.shape:
                raise ConfigError(
                    f'{self.name}: the student gives {tuple(s.shape[1:])} at {student}, the '
                    f'teacher {tuple(t.shape[1:])} at {teacher}. Give student_taps and '
                    f"teacher_taps of the same shape, or compare by type='mmrazor.TapCKA'"
                )

    def measure(self, features: list[tuple[torch.Tensor, torch.Tensor]]) -> list:
        """Compute the mean squared distance of each image at each tap."""
        squares = [(s - t).double().square().flatten(1).mean(1) for s, t in features]
        return torch.stack(squares, 1).tolist()

    def compute_metrics(self, results: list) -> dict:
        """Average each tap's distance over the images."""
        means = torch.tensor(results, dtype=torch.double).mean(0)
        return {f'tap{i + 1}': value for i, value in enumerate(means.tolist())}


@METRICS.register_module()
class TapCKA(TapMetric):
    """Unbiased linear CKA of student and teacher features, which may differ in shape.

    It reports ``tap1``, ``tap2``, …, see :mod:`lakd_mm.evaluation.cka`.

    Args:
        **kwargs: Taps and teacher, see :class:`TapMetric`.
    """

    default_prefix = 'tap_cka'

    def measure(self, features: list[tuple[torch.Tensor, torch.Tensor]]) -> list:
        """Compute the three sums of CKA at each tap, for this batch."""
        sums = []
        for s, t in features:
            batch = CKASums()
            batch.add([gram(s)], [gram(t)])
            if batch.sums is None:
                return []
            sums.append([value.item() for value in batch.sums])
        return [sums]

    def compute_metrics(self, results: list) -> dict:
        """Add up the three sums of each tap over batches, then divide."""
        if not results:
            raise ConfigError(f'{self.name}: no batch had {MIN_IMAGES} images; lower every')
        xy, xx, yy = torch.tensor(results, dtype=torch.double).sum(0).T
        return {f'tap{i + 1}': v for i, v in enumerate((xy / (xx * yy).sqrt()).tolist())}
