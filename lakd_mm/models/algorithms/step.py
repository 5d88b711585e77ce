"""One training step of distillation."""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import Optional, Union

import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper
from mmrazor.models.algorithms.base import LossResults

from ..distillers import LocalDistiller
from ..teachers import KeptTeacher, LeanTeacher


class Step:
    """One batch on its way through the teacher and the student.

    Args:
        images (torch.Tensor): The batch, shape (N, C, H, W).
        samples (List[DataSample], optional): With the labels.
        teacher (LeanTeacher | KeptTeacher): Fills the teacher's recorders.
        student (nn.Module): The student; a :class:`GradientDetachStudent` if ``backward`` is given.
        distiller (LocalDistiller): Its recorders hold the records of this batch.
        backward (Callable[[Tensor], None], optional): Back-propagates the losses of a module as
            soon as the module is complete. Defaults to None: all losses keep their graphs.
        teacher_first (Collection[str]): With ``backward``, names of the teacher's recorders that
            the first module needs: the teacher runs only as far as these, and once more after that
            module. Defaults to none: it runs once.

    Attributes:
        losses (Dict[str, Tensor]): The distiller's losses computed so far.
    """

    def __init__(
        self,
        images: torch.Tensor,
        samples: Optional[list],
        teacher: Union[LeanTeacher, KeptTeacher],
        student: nn.Module,
        distiller: LocalDistiller,
        backward: Optional[Callable[[torch.Tensor], None]] = None,
        teacher_first: Collection[str] = (),
    ):
        self.images = images
        self.samples = samples
        self.teacher = teacher
        self.student = student
        self.distiller = distiller
        self.backward = backward
        self.teacher_first = teacher_first if backward is not None else ()
        self.losses: LossResults = {}

    def run(self) -> LossResults:
        """Run the teacher, then the student, and compute every loss of the distiller.

        Returns:
            Dict[str, Tensor]: The losses of the student's task.
        """
        self.run_teacher(self.teacher_first or None)
        task = self.run_student()
        self.losses.update(self.distiller.compute_ready_losses(self.losses, self.samples))
        self.distiller.drop_records()
        return task

    def run_teacher(self, recorders: Optional[Collection[str]] = None):
        """Fill the teacher's recorders: those named, or all."""
        self.distiller.set_deliveries_override(False)
        with self.distiller.deliveries:
            self.teacher(self.images, recorders, self.samples)

    def run_student(self) -> LossResults:
        """Compute the task loss; with a local backward, finish each module but the last."""
        local = self.backward is not None
        modules = self.student.at_module_ends(self.finish_module) if local else nullcontext()
        self.distiller.set_deliveries_override(True)
        with self.distiller.student_recorders, self.distiller.deliveries, modules:
            return self.student(self.images, self.samples, mode='loss')

    def finish_module(self, index: int):
        """Back-propagate the losses of module ``index`` and free what it held."""
        ready = self.distiller.compute_ready_losses(self.losses, self.samples)
        self.losses.update((name, value.detach()) for name, value in ready.items())
        # Memory peaks in the backward, which can then free each record after its loss.
        self.distiller.drop_records(self.losses)
        total = sum(value for name, value in ready.items() if 'loss' in name)
        if isinstance(total, torch.Tensor) and total.requires_grad:
            self.backward(total)
        if index == 0 and self.teacher_first:
            self.teacher(self.images)
            self.distiller.drop_records(self.losses)


def scaled_backward(optim_wrapper: OptimWrapper, loss: torch.Tensor):
    """Back-propagate as an optimizer wrapper does, without its counting of iterations."""
    loss = optim_wrapper.scale_loss(loss)
    scaler = getattr(optim_wrapper, 'loss_scaler', None)
    with torch.autocast(loss.device.type, enabled=False):
        (loss if scaler is None else scaler.scale(loss)).backward()
