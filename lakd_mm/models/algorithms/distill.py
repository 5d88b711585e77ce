"""The algorithm of all methods: distillation from a frozen teacher."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS

from ...errors import ConfigError
from ..data_preprocessor import with_default_type
from ..nested import map_tensors
from ..places.probe import images_for
from ..students import GradientDetachStudent
from ..teachers import LeanTeacher, brings_weights, keep_teacher_out, load_teacher
from .inherit import check_inherited, inherit_parts
from .memory_format import in_memory_format
from .parts import (
    build_networks,
    check_keys,
    compile_student,
    complete_distiller,
    image_shape,
    kept_teacher,
    try_losses,
)
from .step import Step, scaled_backward


@MODELS.register_module()
class Distill(SingleTeacherDistill):
    """Distillation from a frozen teacher, into a student that learns as a whole or in modules.

    The teacher runs once, without gradients and without its loss. If the student is a
    :class:`GradientDetachStudent`, each loss of the distiller trains the module that makes its
    student records, and the task loss trains the last module.

    With ``backward='local'`` each module is back-propagated as soon as it is complete, which frees
    its graph, and the records that no other loss needs, before the next module runs. The gradients
    are those of ``'joint'``, one backward of the sum, to the bit; the peak of memory is that of the
    largest module. The log holds every loss, and their sum.

    Args:
        architecture (dict | BaseModel): The student: a classifier, detector or segmenter.
        teacher (dict | BaseModel | list): The teacher, frozen and in eval mode; a list makes a
            :class:`TeacherEnsemble`.
        distiller (dict, optional): A :class:`LocalDistiller`, or MMRazor's
            ``ConfigurableDistiller``, which becomes one: recorders, connectors, losses, mappings.
        transfers (Dict[str, dict], optional): The short form, instead of ``distiller``: each loss
            and what it compares, by its name in the log, see :func:`write_distiller`.
        teacher_ckpt (str | list, optional): The teacher's checkpoint, a path or URL, which must
            fit exactly.
        backward (str, optional): 'local' or 'joint'. Defaults to 'local' where the student cuts
            gradients, else to 'joint'.
        ce_weight (float): Weight of the task loss. Defaults to 1.
        inherit (Sequence[str]): Modules of the student, such as ``['neck', 'bbox_head']``, that
            start with the teacher's weights. Defaults to none.
        channels_last (bool, optional): Whether both networks compute in channels-last memory
            format, which is faster on CPUs and tensor cores. Defaults to True; to False if one
            does not run in it or has compiled ops of MMCV (RoIAlign), which misread it.
        lean_teacher (dict, optional): Switches of :class:`LeanTeacher`, all on by default:
            ``fold_batchnorm``, ``inplace`` and ``stop_early``.
        teacher_twice (bool): With ``backward='local'``, whether the teacher first runs only as far
            as the first module's losses need, and again as a whole after that module's backward.
            This saves memory if the first module is the largest (a stem of high resolution), but
            the teacher's first layers run twice. Defaults to False.
        keep_teacher (dict, optional): Arguments of :class:`KeptTeacher` (``folder``, ``images``,
            ``half``, ``max_gb``), which keeps the teacher's records on disk. Images must not change
            at random, or the preprocessor needs ``num_views``. Defaults to None, nothing is kept.
        compile (dict | bool, optional): Arguments of :func:`torch.compile`, or True, for the
            residual blocks of both networks, except those that are tapped or follow a tap. Modes
            with CUDA graphs are refused. Defaults to None, nothing is compiled.
        save_teacher (bool): Whether checkpoints hold the teacher's weights too; without them a
            resumed run takes them from ``teacher_ckpt``. Defaults to True.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for the runs on noise; that of a
            :class:`GradientDetachStudent` is its own. Defaults to (3, 32, 32).
        data_preprocessor (dict | nn.Module, optional): Defaults to the student's.
        **kwargs: ``init_cfg``, ``module_inplace`` and ``teacher_module_inplace`` of MMRazor's
            ``SingleTeacherDistill``.

    Raises:
        ConfigError: If ``backward`` is unknown or 'local' with a student that cuts nothing, both
            or neither of ``distiller`` and ``transfers`` are given, the checkpoint does not fit
            the teacher, or a loss cannot be computed.

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
        keep_teacher: Optional[dict] = None,
        compile: Union[dict, bool, None] = None,
        save_teacher: bool = True,
        input_shape: Sequence[int] = (3, 32, 32),
        data_preprocessor: Optional[Union[dict, torch.nn.Module]] = None,
        **kwargs,
    ):
        if isinstance(compile, bool):
            compile = {} if compile else None
        check_keys(type(self), kwargs, ce_weight, distiller, transfers, lean_teacher, compile)
        architecture, teacher = build_networks(architecture, teacher)
        input_shape = image_shape(architecture, input_shape)
        super().__init__(
            architecture=architecture,
            teacher=teacher,
            distiller=complete_distiller(architecture, teacher, distiller, transfers, input_shape),
            data_preprocessor=with_default_type(data_preprocessor),
            **kwargs,
        )
        self.ce_weight = ce_weight
        self.input_shape = input_shape
        self._set_backward(backward, teacher_twice)
        if teacher_ckpt is not None:
            load_teacher(self.teacher, teacher_ckpt)
        check_inherited(self.student, self.teacher, inherit)
        self.inherit = tuple(inherit)
        self._prepare_networks(channels_last, lean_teacher or {}, compile)
        if keep_teacher is not None:
            self.run_teacher = kept_teacher(self, keep_teacher)
        if not save_teacher:
            keep_teacher_out(self)

    def _set_backward(self, backward: Optional[str], teacher_twice: bool):
        """Choose when losses are back-propagated, and check what depends on it."""
        self.backward = ('local' if self._cuts else 'joint') if backward is None else backward
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

    def _prepare_networks(
        self, channels_last: Optional[bool], lean_teacher: dict, compile: Optional[dict]
    ):
        """Choose the memory format, make the lean teacher, try all losses, compile blocks."""
        in_memory_format(
            channels_last,
            self.student,
            self.teacher,
            partial(self._try_all, lean_teacher=lean_teacher, compile=compile),
        )
        if compile is not None:
            compile_student(self.student, compile)

    def _try_all(self, channels_last: bool, lean_teacher: dict, compile: Optional[dict]):
        """Make the lean teacher and compute all losses on noise."""
        self.run_teacher = LeanTeacher(
            self.teacher.eval(),
            self.distiller.teacher_recorders,
            images_for(self.teacher, self.input_shape),
            channels_last=channels_last,
            compile=compile,
            **lean_teacher,
        )
        self.eval()
        local = self.backward == 'local'
        first = try_losses(
            self.student, self.run_teacher, self.distiller, self.input_shape, in_modules=local
        )
        self._teacher_first = first if self.teacher_twice else set()
        self.train()

    @property
    def _cuts(self) -> bool:
        """Whether the student is cut into modules now."""
        return isinstance(self.student, GradientDetachStudent) and self.student.detach

    def init_weights(self):
        """Initialize weights at the start of training; warn if the teacher's are random."""
        has_weights = self.teacher.is_init
        super().init_weights()
        inherit_parts(self.student, self.teacher, self.inherit)
        if not has_weights and not brings_weights(self.teacher):
            print_log(
                'The teacher has random weights: neither teacher_ckpt nor init_cfg names a '
                'checkpoint. Only what load_from or resume loads can still change that.',
                logger='current',
                level=logging.WARNING,
            )

    def train_step(self, data: Union[dict, tuple, list], optim_wrapper: OptimWrapper) -> dict:
        """Forward, backward and update, see :meth:`mmengine.model.BaseModel.train_step`."""
        with optim_wrapper.optim_context(self):
            losses = self.batch_losses(data, optim_wrapper)
        total, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(total)
        return log_vars

    def batch_losses(self, data: Any, optim_wrapper: OptimWrapper) -> LossResults:
        """Preprocess a batch, run the step and return its losses.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapper): Scales the losses of a local backward.

        Returns:
            Dict[str, Tensor]: As :meth:`loss`.
        """
        return self.prepared_losses(self.data_preprocessor(data, True), optim_wrapper)

    def prepared_losses(self, data: Any, optim_wrapper: OptimWrapper) -> LossResults:
        """Compute the losses of a preprocessed batch, see :meth:`batch_losses`."""
        if self.backward != 'local':
            return self._run_forward(data, mode='loss')
        args, kwargs = ((), data) if isinstance(data, dict) else (data, {})
        return self(*args, **kwargs, mode='loss', backward=partial(scaled_backward, optim_wrapper))

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: Optional[list] = None,
        mode: str = 'tensor',
        backward: Optional[Callable[[torch.Tensor], None]] = None,
    ) -> Any:
        """Run the student, or with mode 'loss' see :meth:`loss`."""
        if backward is None:
            return super().forward(inputs, data_samples, mode)
        return self.loss(inputs, data_samples, backward)

    def loss(
        self,
        batch_inputs: torch.Tensor,
        data_samples: Optional[list] = None,
        backward: Optional[Callable[[torch.Tensor], None]] = None,
    ) -> LossResults:
        """Compute the losses of one batch.

        Args:
            batch_inputs (torch.Tensor): Shape (N, C, H, W).
            data_samples (List[DataSample], optional): With the labels.
            backward (Callable[[Tensor], None], optional): Back-propagates the losses of each module
                but the last, which are then returned detached. Defaults to None: all losses keep
                their graphs.

        Returns:
            Dict[str, Tensor]: ``student.…`` for the task, ``distill.…`` for the distiller's.
        """
        if self.distillation_stopped:
            # From here on the task loss trains the student as a whole.
            if self._cuts:
                self.student.detach = False
            task, distilled = self.student(batch_inputs, data_samples, mode='loss'), {}
        else:
            step = Step(
                batch_inputs,
                data_samples,
                self.run_teacher,
                self.student,
                self.distiller,
                backward if self._cuts else None,
                self._teacher_first,
            )
            task, distilled = step.run(), step.losses
        task = {
            name: map_tensors(self._weigh_task, value) if 'loss' in name else value
            for name, value in task.items()
        }
        return {**add_prefix(task, 'student'), **add_prefix(distilled, 'distill')}

    def _weigh_task(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.ce_weight
