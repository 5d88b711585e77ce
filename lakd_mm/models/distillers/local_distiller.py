"""A configurable distiller whose losses can be computed one by one, as their records arrive."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Optional

import torch
import torch.nn as nn
from mmengine.logging import MessageHub
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names
from ..nested import contiguous, map_dicts, tensors_in
from ..students import GradientDetachStudent
from .loss_inputs import (
    each_record,
    in_full_precision,
    is_ours,
    labels_of,
    least_count,
    listed,
    takes,
)


@MODELS.register_module()
class LocalDistiller(ConfigurableDistiller):
    """Extend MMRazor's ``ConfigurableDistiller`` for local learning.

    It takes the same config. It can compute each loss as soon as its records have arrived, and
    drops records that no other loss needs. A mapping may give a list of records to an argument of a
    loss; an argument ``gt_labels`` without a mapping gets the labels of the batch. Connectors with
    an ``attach`` method get the network whose records they convert. For an unknown source of a
    recorder, the error suggests near names.

    Args:
        *args: Those of ``ConfigurableDistiller``.
        warmup (Dict[str, int], optional): By name, the epochs over which a loss grows to its
            weight. Defaults to None: all have their weight from the start.
        **kwargs: Those of ``ConfigurableDistiller``.
    """

    def __init__(self, *args, warmup: Optional[dict[str, int]] = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.warmup = warmup or {}
        unknown = sorted(self.warmup.keys() - self.loss_forward_mappings.keys())
        if unknown:
            raise ConfigError(
                f'distiller.warmup.{unknown[0]}: there is no such loss; '
                f'{near_names(unknown[0], self.loss_forward_mappings)}'
            )
        self._refuse_unused()
        # By loss: the student's recorders that it waits for, and how many records of each.
        self._awaited = {
            loss: [
                (r['recorder'], least_count(r.get('record_idx', 0)))
                for r in self._records(loss, from_student=True)
            ]
            for loss in self.loss_forward_mappings
        }
        # By side and recorder: the losses that read it.
        self._readers = {
            from_student: {
                name: {
                    loss
                    for loss in self.loss_forward_mappings
                    if any(r['recorder'] == name for r in self._records(loss, from_student))
                }
                for name in self._manager(from_student).recorders
            }
            for from_student in (True, False)
        }

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
        data_samples: Optional[list] = None,
    ) -> Any:
        """Look up a record, see MMRazor's ``ConfigurableDistiller``.

        A connector whose forward has an argument ``data_samples`` gets those of the batch.
        """
        record = super().get_record(recorder, from_student, record_idx, data_idx)
        if connector:
            module = self.connectors[connector]
            labels = {'data_samples': data_samples} if takes(module, 'data_samples') else {}
            record = module(record if is_ours(module) else contiguous(record), **labels)
        return record if connector_idx is None else record[connector_idx]

    def compute_ready_losses(
        self, done: Collection[str], data_samples: Optional[list] = None, explain: bool = False
    ) -> LossResults:
        """Compute every loss that is not done and whose student records have all arrived.

        Args:
            done (Collection[str]): Names of the losses that this step has computed.
            data_samples (List[DataSample], optional): Those of the batch, for losses and connectors
                whose forward has an argument ``data_samples``.
            explain (bool): Whether to report any failure as a mistake in the config. Defaults to
                False.

        Returns:
            Dict[str, Tensor]: The new losses.

        Raises:
            ConfigError: If a loss does not take what is recorded for it.
        """
        return {
            name: self._compute(name, data_samples, explain)
            for name in self.ready_losses()
            if name not in done
        }

    def ready_losses(self) -> list[str]:
        """Return the names of the losses whose student records have all arrived."""
        return [loss for loss in self._awaited if all(self._arrived(loss))]

    def refuse_halves(self, module: int):
        """Raise a ConfigError if, at a module's end, a loss has only some student records."""
        for loss in self._awaited:
            if any(self._arrived(loss)) and not all(self._arrived(loss)):
                raise ConfigError(
                    f'{loss} compares features of several modules of the student, and no gradient '
                    f'joins them; record all of them up to the end of module {module + 1}, or all '
                    f'behind it, or set detach=False'
                )

    def _arrived(self, loss: str) -> list[bool]:
        recorders = self.student_recorders.recorders
        return [len(recorders[name].data_buffer) >= n for name, n in self._awaited[loss]]

    def teacher_records_of(self, losses: Collection[str]) -> set[str]:
        """Return the names of the teacher's recorders that losses read."""
        return {name for name, readers in self._readers[False].items() if readers & set(losses)}

    def drop_records(self, done: Optional[Collection[str]] = None):
        """Drop the records that only losses in ``done`` need; all records if it is None."""
        for from_student, readers in self._readers.items():
            recorders = self._manager(from_student).recorders
            for name, losses in readers.items():
                if done is None or losses <= set(done):
                    recorders[name].reset_data_buffer()

    def _compute(self, name: str, data_samples: Optional[list], explain: bool) -> torch.Tensor:
        loss, mapping = self.distill_losses[name], self.loss_forward_mappings[name]
        try:
            inputs = {
                key: map_dicts(partial(self._look_up, data_samples), records)
                for key, records in mapping.items()
            }
            if not is_ours(loss):
                inputs = contiguous(inputs)
            if 'data_samples' not in inputs and takes(loss, 'data_samples'):
                inputs['data_samples'] = data_samples
            if 'gt_labels' not in inputs and takes(loss, 'gt_labels'):
                inputs['gt_labels'] = labels_of(data_samples, next(iter(tensors_in(inputs))))
            value = in_full_precision(loss, inputs)
            return value * self._warmth(name) if name in self.warmup else value
        except (ValueError, AssertionError, RuntimeError, TypeError) as error:
            if not explain and not isinstance(error, ValueError):
                raise
            sources = ', '.join(
                f'{k} from {" and ".join(map(self._describe, listed(r)))}'
                for k, r in mapping.items()
            )
            raise ConfigError(f'{name} ({sources}): {error}') from None

    def _look_up(self, data_samples: Optional[list], record: dict) -> Any:
        return self.get_record(**record, data_samples=data_samples)

    def _warmth(self, name: str) -> float:
        """Return the share of its weight that a loss has in the runner's current epoch."""
        epoch = MessageHub.get_current_instance().get_info('epoch')
        return 1.0 if epoch is None else min((epoch + 1) / self.warmup[name], 1.0)

    def _check_loss_forward_mappings(self, losses, mappings, student_recorders, teacher_recorders):
        """Check as MMRazor does, record by record where an argument has several."""
        check = super()._check_loss_forward_mappings
        if not isinstance(mappings, Mapping):
            check(losses, mappings, student_recorders, teacher_recorders)
        for loss, mapping in mappings.items():
            several = isinstance(mapping, Mapping)
            for part in each_record(mapping) if several else [mapping]:
                check(losses, {loss: part}, student_recorders, teacher_recorders)

    def _refuse_unused(self):
        """Raise if no loss uses a configured part."""
        mappings = self.loss_forward_mappings.values()
        mapped = [r for m in mappings for records in m.values() for r in listed(records)]
        of_student, of_teacher = (
            {r['recorder'] for r in mapped if r['from_student'] == side} for side in (True, False)
        )
        for key, names, wanted in (
            ('distill_losses', self.distill_losses, self.loss_forward_mappings),
            ('connectors', self.connectors, {r.get('connector') for r in mapped}),
            ('student_recorders', self.student_recorders.recorders, of_student),
            ('teacher_recorders', self.teacher_recorders.recorders, of_teacher),
        ):
            for name in names:
                if name not in wanted:
                    raise ConfigError(
                        f'distiller.{key}.{name} would be ignored: no loss_forward_mappings name '
                        f'it; map it or leave it out'
                    )

    def _manager(self, from_student: bool) -> RecorderManager:
        return self.student_recorders if from_student else self.teacher_recorders

    def _describe(self, record: dict) -> str:
        side = 'student' if record['from_student'] else 'teacher'
        source = self._manager(record['from_student']).get_recorder(record['recorder']).source
        return f"the {side}'s {source!r}"

    def _records(self, loss: str, from_student: bool):
        values = self.loss_forward_mappings[loss].values()
        records = [record for value in values for record in listed(value)]
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
