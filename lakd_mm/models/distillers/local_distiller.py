"""A configurable distiller whose losses can be computed one by one, as their records arrive."""

import inspect
from collections.abc import Collection
from typing import Any, Optional

import torch
import torch.nn as nn
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names
from ..students import GradientDetachStudent
from ..students.followers import contiguous


@MODELS.register_module()
class LocalDistiller(ConfigurableDistiller):
    """MMRazor's ``ConfigurableDistiller``, fit for local learning.

    It takes the same config. Beyond it, connectors with an ``attach`` method get the network whose
    records they convert, a recorder's unknown source is answered with near names, losses can be
    computed as soon as what they need was recorded, and records are dropped as soon as no loss
    needs them any more.
    """

    # Of the batch that runs; a loss or connector whose forward has a ``data_samples`` gets them.
    data_samples: Optional[list] = None

    def prepare_from_student(self, model: nn.Module):
        """Initialize the student's recorders and connectors.

        Sources are named as in the plain classifier, also where gradients are cut in it.
        """
        if isinstance(model, GradientDetachStudent):
            model = model.architecture
        self._prepare(model, self.student_recorders, from_student=True)
        super().prepare_from_student(model)

    def prepare_from_teacher(self, model: nn.Module):
        """Initialize the teacher's recorders and connectors."""
        self._prepare(model, self.teacher_recorders, from_student=False)
        super().prepare_from_teacher(model)

    def get_record(
        self,
        recorder: str,
        from_student: bool,
        record_idx: int = 0,
        data_idx: Optional[int] = None,
        connector: Optional[str] = None,
        connector_idx: Optional[int] = None,
    ) -> Any:
        """Look up a record, see MMRazor's ``ConfigurableDistiller``."""
        record = super().get_record(recorder, from_student, record_idx, data_idx)
        if connector:
            module = self.connectors[connector]
            labels = {'data_samples': self.data_samples} if _takes(module, 'data_samples') else {}
            record = module(record if _is_ours(module) else contiguous(record), **labels)
        return record if connector_idx is None else record[connector_idx]

    def compute_ready_losses(self, done: LossResults, explain: bool = False) -> LossResults:
        """Compute every loss that is not done and whose student records have all arrived.

        Args:
            done (Dict[str, Tensor]): Losses of this step so far.
            explain (bool): Whether whatever fails is a mistake in the config. Defaults to False.

        Returns:
            Dict[str, Tensor]: The new losses.

        Raises:
            ConfigError: If a loss does not take what is recorded for it.
        """
        return {
            name: self._compute(name, self.loss_forward_mappings[name], explain)
            for name in self.ready_losses()
            if name not in done
        }

    def ready_losses(self) -> list[str]:
        """Names of the losses whose student records have all arrived."""
        return [
            name
            for name, mapping in self.loss_forward_mappings.items()
            if all(map(self._has_arrived, mapping.values()))
        ]

    def teacher_records_of(self, losses: Collection[str]) -> set[str]:
        """Names of the teacher's recorders that losses look into."""
        return {r['recorder'] for loss in losses for r in self._records(loss, from_student=False)}

    def drop_records(self, done: LossResults):
        """Forget what only the losses in ``done`` needed."""
        for manager, from_student in (
            (self.student_recorders, True),
            (self.teacher_recorders, False),
        ):
            for name, recorder in manager.recorders.items():
                needed = any(
                    loss not in done
                    and any(r['recorder'] == name for r in self._records(loss, from_student))
                    for loss in self.loss_forward_mappings
                )
                if not needed:
                    recorder.reset_data_buffer()

    def _compute(self, name: str, mapping: dict, explain: bool) -> torch.Tensor:
        loss = self.distill_losses[name]
        try:
            inputs = {key: self.get_record(**record) for key, record in mapping.items()}
            if not _is_ours(loss):
                inputs = contiguous(inputs)
            if 'data_samples' not in inputs and _takes(loss, 'data_samples'):
                inputs['data_samples'] = self.data_samples
            return loss(**inputs)
        except (ValueError, AssertionError, RuntimeError, TypeError) as error:
            if not explain and not isinstance(error, ValueError):
                raise
            sources = ', '.join(f'{k} from {self._describe(r)}' for k, r in mapping.items())
            raise ConfigError(f'{name} ({sources}): {error}') from None

    def _describe(self, record: dict) -> str:
        student = record['from_student']
        manager = self.student_recorders if student else self.teacher_recorders
        source = manager.get_recorder(record['recorder']).source
        return f"the {'student' if student else 'teacher'}'s {source!r}"

    def _has_arrived(self, record: dict) -> bool:
        if not record['from_student']:
            return True
        index = record.get('record_idx', 0)
        arrived = len(self.student_recorders.get_recorder(record['recorder']).data_buffer)
        return arrived > index if index >= 0 else arrived >= -index

    def _records(self, loss: str, from_student: bool):
        records = self.loss_forward_mappings[loss].values()
        return [record for record in records if record['from_student'] == from_student]

    def _prepare(self, model: nn.Module, manager: RecorderManager, from_student: bool):
        names = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
        side = 'student' if from_student else 'teacher'
        for name, recorder in manager.recorders.items():
            # Methods and functions are found by import path, which MMRazor checks itself.
            if type(recorder).__name__.startswith(('Module', 'Param')) and (
                recorder.source not in names
            ):
                raise ConfigError(
                    f'{side}_recorders.{name}: the {side} has no {recorder.source!r}; '
                    f'{near_names(recorder.source, names)}'
                )
        for loss in self.loss_forward_mappings:
            for record in self._records(loss, from_student):
                if 'connector' in record:
                    for module in self.connectors[record['connector']].modules():
                        if hasattr(module, 'check_record'):
                            source = manager.get_recorder(record['recorder']).source
                            module.check_record(source, from_student)
                        if hasattr(module, 'attach'):
                            module.attach(model)


def _takes(module: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(module.forward).parameters


def _is_ours(module: nn.Module) -> bool:
    """Whether a module copes with channels-last tensors; many of MMRazor's use ``view``."""
    return type(module).__module__.startswith('lakd_mm.')
