"""How a training step of distillation runs."""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS

from ...compat.dense import check_dense_network
from ...errors import ConfigError, near_names
from ..data_preprocessor import with_default_type
from ..students import GradientDetachStudent
from ..students.followers import images_for, map_tensors
from ..taps import compile_blocks
from .inherit import check_inherited, inherit_parts
from .teacher import LeanTeacher, keep_teacher_out, load_teacher
from .transfers import write_distiller
from .trial import noise_samples, reads_memory_as_contiguous, run_network, sources_of

# Keys of MMRazor's algorithm that mean nothing here.
_NOT_HERE = {
    'teacher_trainable',
    'teacher_norm_eval',
    'student_trainable',
    'calculate_student_loss',
}


@MODELS.register_module()
class Distill(SingleTeacherDistill):
    """Distillation from a frozen teacher, into a student that learns as a whole or in modules.

    The teacher runs once, without gradients and without its loss. If the student is a
    :class:`GradientDetachStudent`, it runs module by module; a loss of the distiller belongs to
    the module in which the last of its student records arrives. The last module also gets the task
    loss.

    With ``backward='local'`` a module is back-propagated as soon as it is complete, and its graph
    and the records that no other loss needs are freed before the next module runs. The gradients
    are those of ``'joint'``, one backward of the sum, to the bit; the peak of memory is that of the
    largest module. Every loss is logged, and counted in the logged total, once.

    Args:
        architecture (dict | BaseModel): The student: a classifier, detector or segmenter.
        teacher (dict | BaseModel): The teacher, frozen and in eval mode.
        distiller (dict, optional): A :class:`LocalDistiller`, or MMRazor's
            ``ConfigurableDistiller``, which becomes one: recorders, connectors, losses, mappings.
        transfers (Dict[str, dict], optional): Instead of ``distiller``: by its name in the log,
            each loss and what it compares. The rest is made from it, see :func:`write_distiller`.
        teacher_ckpt (str, optional): The teacher's checkpoint, a path or URL; has to fit exactly.
            Defaults to None.
        backward (str, optional): 'local' or 'joint'. Defaults to 'local' where the student cuts
            gradients, else to 'joint'.
        ce_weight (float): Weight of the task loss. Defaults to 1.
        inherit (Sequence[str]): Modules of the student, such as ``['neck', 'bbox_head']``, that
            start training with the teacher's weights. Defaults to none.
        channels_last (bool, optional): Whether both networks compute in channels-last memory
            format, which is faster on CPUs and on tensor cores. Defaults to True, but to False
            where one has compiled ops of MMCV (RoIAlign, deformable convolutions), which would
            read such memory wrongly.
        lean_teacher (dict, optional): Further switches of :class:`LeanTeacher`, which saves time
            where it does not change what is recorded: ``fold_batchnorm``, ``inplace`` and
            ``stop_early``, all on by default.
        teacher_twice (bool): With ``backward='local'``, whether the teacher first runs only as far
            as the first module's losses look, and all over once that module is back-propagated.
            Nothing else is recorded then while that runs, which saves memory where the first module
            is the largest, as in networks with a stem of high resolution, and costs the time of the
            teacher's beginning. Defaults to False.
        compile (dict, optional): Arguments of :func:`torch.compile`, such as ``dict()``: residual
            blocks of both networks are compiled, except those that are tapped or follow a tap.
            Defaults to None, nothing is compiled.
        save_teacher (bool): Whether checkpoints hold the teacher's weights too; without them a
            resumed run takes them from ``teacher_ckpt``. Defaults to True.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for the runs on noise that check
            taps and shapes; that of a :class:`GradientDetachStudent` is its own. Defaults to
            (3, 32, 32).
        data_preprocessor (dict | nn.Module, optional): Defaults to the student's.
        **kwargs: ``init_cfg``, ``module_inplace`` and ``teacher_module_inplace`` of MMRazor's
            ``SingleTeacherDistill``.

    Raises:
        ConfigError: If ``backward`` is unknown or 'local' with a student that cuts nothing, not
            one of ``distiller`` and ``transfers`` is given, the checkpoint does not fit the
            teacher, or a loss cannot be computed.

    Examples:
        >>> model = dict(
        ...     type='mmrazor.Distill',
        ...     architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'),
        ...     teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb16_cifar10.py'),
        ...     teacher_ckpt='resnet34_cifar10.pth',
        ...     transfers=dict(
        ...         loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')))
    """

    def __init__(
        self,
        architecture: Union[dict, BaseModel],
        teacher: Union[dict, BaseModel],
        distiller: Optional[dict] = None,
        transfers: Optional[dict[str, dict]] = None,
        teacher_ckpt: Optional[str] = None,
        backward: Optional[str] = None,
        ce_weight: float = 1.0,
        inherit: Sequence[str] = (),
        channels_last: Optional[bool] = None,
        lean_teacher: Optional[dict] = None,
        teacher_twice: bool = False,
        compile: Optional[dict] = None,
        save_teacher: bool = True,
        input_shape: Sequence[int] = (3, 32, 32),
        data_preprocessor: Optional[Union[dict, torch.nn.Module]] = None,
        **kwargs,
    ):
        ignored = _NOT_HERE & kwargs.keys()
        if ignored:
            raise ConfigError(
                f'{type(self).__name__} has no {", ".join(sorted(ignored))}: the teacher is frozen '
                f'and the student is trained, by its task too (see ce_weight)'
            )
        unknown = kwargs.keys() - {'init_cfg', 'module_inplace', 'teacher_module_inplace'}
        if unknown:
            known = inspect.signature(type(self)).parameters
            raise ConfigError(
                f'{type(self).__name__} has no {min(unknown)!r}; {near_names(min(unknown), known)}'
            )
        if not isinstance(ce_weight, (int, float)):
            raise ConfigError(f'ce_weight={ce_weight!r} is not a number')
        if (distiller is None) == (transfers is None):
            raise ConfigError(f'{type(self).__name__}: give either transfers or a distiller')
        check_dense_network(architecture, 'architecture')
        check_dense_network(teacher, 'teacher')
        if isinstance(architecture, dict):
            architecture = MODELS.build(architecture)
        if isinstance(teacher, dict):
            teacher = MODELS.build(teacher)
        for side, network in (('architecture', architecture), ('teacher', teacher)):
            if not isinstance(network, BaseModel):
                raise ConfigError(
                    f'{side}: {type(network).__name__} is no network of OpenMMLab (BaseModel); '
                    f'wrap the backbone in an ImageClassifier'
                )
        input_shape = getattr(architecture, 'input_shape', input_shape)
        if distiller is None:
            student = architecture
            if isinstance(architecture, GradientDetachStudent):
                student = architecture.architecture
                _refuse_records_behind_cuts(student, transfers)
            distiller = write_distiller(student, teacher, transfers, input_shape)
        elif str(distiller.get('type')).endswith('ConfigurableDistiller'):
            distiller = dict(distiller, type='mmrazor.LocalDistiller')
        super().__init__(
            architecture=architecture,
            teacher=teacher,
            distiller=distiller,
            data_preprocessor=with_default_type(data_preprocessor),
            **kwargs,
        )
        self.backward = backward or ('local' if self._cuts else 'joint')
        if self.backward not in ('local', 'joint'):
            raise ConfigError(f"backward={backward!r} is neither 'local' nor 'joint'")
        if self.backward == 'local' and not self._cuts:
            raise ConfigError(
                "backward='local' needs a student that is cut into modules (LAKD, or a "
                "GradientDetachStudent, with detach=True); set backward='joint'"
            )
        if teacher_twice and (self.backward != 'local' or self.distiller.deliveries.deliveries):
            raise ConfigError(
                "teacher_twice=True is for backward='local', and for a distiller without "
                'deliveries; set teacher_twice=False'
            )
        self.teacher_twice = teacher_twice
        # Teacher's recorders that the losses of the first module look into, if it runs twice.
        self._first_records: set[str] = set()
        self.ce_weight = ce_weight
        self.input_shape = tuple(input_shape)
        self._optim_wrapper: Optional[OptimWrapper] = None
        if teacher_ckpt is not None:
            load_teacher(self.teacher, teacher_ckpt)
        check_inherited(self.student, self.teacher, inherit)
        self.inherit = tuple(inherit)
        contiguous = reads_memory_as_contiguous(self.student, self.teacher)
        if channels_last and contiguous:
            raise ConfigError(
                'channels_last=True: compiled ops of MMCV (RoIAlign, deformable convolutions) in '
                'these networks would read such memory wrongly; leave it out'
            )
        if channels_last is None:
            channels_last = not contiguous
        if channels_last:
            self.student.to(memory_format=torch.channels_last)
        try:
            self._run_teacher = LeanTeacher(
                self.teacher.eval(),
                self.distiller.teacher_recorders,
                images_for(self.teacher, self.input_shape),
                channels_last=channels_last,
                compile=compile,
                **(lean_teacher or {}),
            )
            self._try_losses()
        except RuntimeError as error:
            if not channels_last or 'view size is not compatible' not in str(error):
                raise
            raise ConfigError(
                'one of the networks does not run in channels-last memory format; set '
                'channels_last=False'
            ) from error
        if compile is not None:
            wrapped = self._is_wrapped
            compile_blocks(self.student.architecture if wrapped else self.student, **compile)
        if not save_teacher:
            keep_teacher_out(self)

    @property
    def _cuts(self) -> bool:
        """Whether the student is cut into modules now."""
        return self._is_wrapped and self.student.detach

    @property
    def _is_wrapped(self) -> bool:
        return isinstance(self.student, GradientDetachStudent)

    def init_weights(self):
        """Initialize the weights at the start of training, and say so if the teacher's are."""
        untrained = not self.teacher.is_init and not any(
            'Pretrained' in str(module.init_cfg)
            for module in (self.teacher, getattr(self.teacher, 'backbone', self.teacher))
        )
        super().init_weights()
        inherit_parts(self.student, self.teacher, self.inherit)
        if untrained:
            print_log(
                'The teacher has random weights: neither teacher_ckpt nor init_cfg names a '
                'checkpoint. Only what load_from or resume loads can still change that.',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def local_backward(self, optim_wrapper: OptimWrapper) -> Iterator[None]:
        """Have :meth:`loss` back-propagate complete modules, if ``backward`` is 'local'.

        Args:
            optim_wrapper (OptimWrapper): What the gradients are for; it says how losses are scaled.
        """
        self._optim_wrapper = optim_wrapper if self.backward == 'local' else None
        try:
            yield
        finally:
            self._optim_wrapper = None

    def train_step(self, data: Union[dict, tuple, list], optim_wrapper: OptimWrapper) -> dict:
        """Forward, backward and update, see :meth:`mmengine.model.BaseModel.train_step`."""
        with self.local_backward(optim_wrapper):
            return super().train_step(data, optim_wrapper)

    def loss(self, batch_inputs: torch.Tensor, data_samples: Optional[list] = None) -> LossResults:
        """Losses of one batch.

        Inside :meth:`local_backward` all but the last module's losses are
        back-propagated already and returned detached; elsewhere all of them carry their graphs.

        Args:
            batch_inputs (torch.Tensor): Shape (N, C, H, W).
            data_samples (List[DataSample], optional): With the labels.

        Returns:
            Dict[str, Tensor]: ``student.…`` for the task, ``distill.…`` for the distiller's.
        """
        # A student whose distillation has been stopped is trained on as a whole by its task loss.
        if self._cuts and self.distillation_stopped:
            self.student.detach = False
        distilled: LossResults = {}
        first = None
        if self._optim_wrapper is not None and self._cuts:
            first = self._first_records or None
            self.student.on_module_end = partial(
                self._finish_module, distilled, batch_inputs if first else None
            )
        self.distiller.data_samples = data_samples
        try:
            self.distiller.set_deliveries_override(False)
            with self.distiller.deliveries:
                self._run_teacher(batch_inputs, first)
            self.distiller.set_deliveries_override(True)
            with self.distiller.student_recorders, self.distiller.deliveries:
                task = self.student(batch_inputs, data_samples, mode='loss')
        finally:
            if self._is_wrapped:
                self.student.on_module_end = None
        if not self.distillation_stopped:
            distilled.update(self.distiller.compute_ready_losses(distilled))
        self.distiller.drop_records(self.distiller.loss_forward_mappings)
        task = {
            name: map_tensors(self._weigh_task, value) if 'loss' in name else value
            for name, value in task.items()
        }
        return {**add_prefix(task, 'student'), **add_prefix(distilled, 'distill')}

    def _weigh_task(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.ce_weight

    def _finish_module(self, distilled: LossResults, images: Optional[torch.Tensor], index: int):
        """Back-propagate what module ``index`` has to learn, and free what it held.

        Images are what the teacher has not seen all of yet, behind the first module.
        """
        if self.distillation_stopped:
            return
        ready = self.distiller.compute_ready_losses(distilled)
        distilled.update((name, value.detach()) for name, value in ready.items())
        # First: the backward, at the peak of memory, then frees each record behind its loss.
        self.distiller.drop_records(distilled)
        total = sum(value for name, value in ready.items() if 'loss' in name)
        if isinstance(total, torch.Tensor) and total.requires_grad:
            self._backward(total)
        if images is not None and index == 0:
            self._run_teacher(images)
            self.distiller.drop_records(distilled)

    def _backward(self, loss: torch.Tensor):
        """Back-propagate as the optimizer wrapper would, but without counting it as a step."""
        loss = self._optim_wrapper.scale_loss(loss)
        scaler = getattr(self._optim_wrapper, 'loss_scaler', None)
        with torch.autocast(loss.device.type, enabled=False):
            (loss if scaler is None else scaler.scale(loss)).backward()

    def _try_losses(self):
        """Compute every loss once on noise, so that what does not fit fails here."""
        self.eval()
        images = images_for(self.student, self.input_shape)
        with torch.no_grad():
            try:
                self.distiller.data_samples = noise_samples(len(images), self.input_shape)
                self._run_teacher(images)
                recorders = self.distiller.student_recorders
                if self.teacher_twice:
                    self.student.on_module_end = self._note_first_records
                # A student starts modules only where gradients are recorded.
                with recorders, torch.set_grad_enabled(self.teacher_twice):
                    run_network(self.student, images, sources_of(recorders))
                self.distiller.compute_ready_losses({}, explain=True)
            finally:
                self.distiller.drop_records(self.distiller.loss_forward_mappings)
                if self.teacher_twice:
                    self.student.on_module_end = None
        self.train()

    def _note_first_records(self, index: int):
        if index == 0:
            self._first_records = self.distiller.teacher_records_of(self.distiller.ready_losses())


def _refuse_records_behind_cuts(student: BaseModel, transfers: dict):
    """Raise if a feature would be recorded in the module behind the one that makes it."""
    signed = any(getattr(module, 'pre_activation', False) for module in student.modules())
    for name, transfer in transfers.items():
        if signed and isinstance(transfer, dict) and transfer.get('position') == 'pre_relu':
            raise ConfigError(
                f"transfers.{name}.position='pre_relu': the ReLU behind a pre-activation block "
                f"belongs to the next module, past the cut; use 'post_relu', its signed sum"
            )
