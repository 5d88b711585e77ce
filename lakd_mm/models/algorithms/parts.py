"""Functions that build an algorithm: check keys, build networks, try everything on noise."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import Any, Optional, Union

import torch
import torch.nn as nn
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ...compat.dense import check_dense_network
from ...errors import ConfigError, near_names
from ..distillers import LocalDistiller
from ..nested import type_name
from ..places.probe import images_for, noise_samples, run_network, sources_of
from ..places.taps import compile_blocks
from ..students import GradientDetachStudent
from ..teachers import KeptTeacher, LeanTeacher, build_teacher
from .transfer_checks import refuse_records_past_cuts
from .transfers import write_distiller

# Keys of MMRazor's algorithm that can only have one value here.
_FIXED = dict(
    teacher_trainable=False,
    teacher_norm_eval=True,
    student_trainable=True,
    calculate_student_loss=True,
)
_CUDA_GRAPHS = (('mode', 'reduce-overhead'), ('mode', 'max-autotune'), ('backend', 'cudagraphs'))


def check_keys(
    cls: type,
    kwargs: Mapping[str, Any],
    ce_weight: Any,
    distiller: Optional[dict],
    transfers: Optional[dict],
    lean_teacher: Optional[dict],
    compile: Optional[dict],
):
    """Raise unless an algorithm knows every key, and none would be ignored.

    Args:
        cls (type): The algorithm.
        kwargs (Mapping[str, Any]): Keys that it passes on to MMRazor's ``SingleTeacherDistill``.
        ce_weight (Any): Must be a number.
        distiller (dict, optional): The long form; exactly one of the two forms must be given.
        transfers (dict, optional): The short form.
        lean_teacher (dict, optional): Switches of :class:`LeanTeacher`.
        compile (dict, optional): Arguments of :func:`torch.compile`; must not ask for CUDA graphs.

    Raises:
        ConfigError: Names the key.
    """
    for key, value in _FIXED.items():
        if kwargs.get(key, value) != value:
            raise ConfigError(
                f'{cls.__name__} has no {key}={kwargs[key]!r}: the teacher is frozen and the '
                f'student is trained, by its task too (see ce_weight)'
            )
    unknown = kwargs.keys() - {'init_cfg', 'module_inplace', 'teacher_module_inplace', *_FIXED}
    if unknown:
        known = inspect.signature(cls).parameters
        raise ConfigError(
            f'{cls.__name__} has no {min(unknown)!r}; {near_names(min(unknown), known)}'
        )
    if not isinstance(ce_weight, Real):
        raise ConfigError(f'ce_weight={ce_weight!r} is not a number')
    if (distiller is None) == (transfers is None):
        raise ConfigError(f'{cls.__name__}: give either transfers or a distiller')
    unknown = (lean_teacher or {}).keys() - {'fold_batchnorm', 'inplace', 'stop_early'}
    if unknown:
        raise ConfigError(
            f'lean_teacher has no {min(unknown)!r}; its keys are fold_batchnorm, inplace and '
            f'stop_early'
        )
    options = compile or {}
    graphs = [f'{key}={value!r}' for key, value in _CUDA_GRAPHS if options.get(key) == value]
    if (options.get('options') or {}).get('triton.cudagraphs'):
        graphs.append("options={'triton.cudagraphs': True}")
    if graphs:
        raise ConfigError(
            f'compile=dict({graphs[0]}) makes CUDA graphs, which cannot hold a step here: a '
            f'local backward runs inside the forward, and BatchNorm changes its buffers; use '
            f"compile=dict(), or mode='max-autotune-no-cudagraphs'"
        )


def build_networks(
    architecture: Union[dict, BaseModel], teacher: Union[dict, BaseModel]
) -> tuple[BaseModel, BaseModel]:
    """Build the student and the teacher, where they are configs.

    Raises:
        ConfigError: If one is no network of OpenMMLab, or needs a package that is not installed.
    """
    check_dense_network(architecture, 'architecture')
    teacher = build_teacher(teacher)
    built = []
    for side, network in (('architecture', architecture), ('teacher', teacher)):
        network = MODELS.build(network) if isinstance(network, dict) else network
        if not isinstance(network, BaseModel):
            raise ConfigError(
                f'{side}: {type(network).__name__} is no network of OpenMMLab (BaseModel); wrap '
                f'the backbone in an ImageClassifier'
            )
        built.append(network)
    return built[0], built[1]


def image_shape(architecture: BaseModel, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (C, H, W) of an image; a :class:`GradientDetachStudent` has its own.

    Raises:
        ConfigError: If ``input_shape`` differs from that.
    """
    own = getattr(architecture, 'input_shape', None)
    if own is not None and tuple(input_shape) not in (own, (3, 32, 32)):
        raise ConfigError(
            f'input_shape={tuple(input_shape)} would be ignored beside a GradientDetachStudent, '
            f'which has its own, {own}; set it there'
        )
    return own or tuple(input_shape)


def complete_distiller(
    architecture: BaseModel,
    teacher: BaseModel,
    distiller: Optional[dict],
    transfers: Optional[dict],
    input_shape: Sequence[int],
) -> dict:
    """Return the config of a :class:`LocalDistiller`, from its long or its short form.

    Args:
        architecture (BaseModel): The student, cut into modules or not.
        teacher (BaseModel): The teacher.
        distiller (dict, optional): The long form; MMRazor's ``ConfigurableDistiller`` becomes a
            :class:`LocalDistiller`.
        transfers (dict, optional): The short form, see :func:`write_distiller`.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.

    Raises:
        ConfigError: If a transfer does not fit the networks.
    """
    if distiller is not None:
        if type_name(distiller) == 'ConfigurableDistiller':
            return dict(distiller, type='mmrazor.LocalDistiller')
        return distiller
    student = architecture
    if isinstance(architecture, GradientDetachStudent):
        student = architecture.architecture
        refuse_records_past_cuts(student, transfers)
        with architecture.uncut():
            return write_distiller(student, teacher, transfers, input_shape)
    return write_distiller(student, teacher, transfers, input_shape)


def compile_student(student: BaseModel, options: dict):
    """Compile a student's residual blocks, except those that are tapped or follow a tap.

    Raises:
        ConfigError: If none is left.
    """
    network = student.architecture if isinstance(student, GradientDetachStudent) else student
    if not compile_blocks(network, **options):
        raise ConfigError(
            'compile would be ignored: the student has no residual block that is neither tapped '
            'nor follows a tap; leave it out'
        )


def try_losses(
    student: BaseModel,
    run_teacher: LeanTeacher,
    distiller: LocalDistiller,
    input_shape: Sequence[int],
    in_modules: bool = False,
) -> set[str]:
    """Compute every loss once on noise, so that a misfit fails before training.

    Args:
        student (BaseModel): The student, in eval mode.
        run_teacher (LeanTeacher): Fills the teacher's recorders.
        distiller (LocalDistiller): The losses.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.
        in_modules (bool): Whether to run the student module by module. Defaults to False.

    Returns:
        Set[str]: With ``in_modules``, names of the teacher's recorders that the first module's
        losses read; else none.

    Raises:
        ConfigError: If a loss does not take what is recorded for it or, with ``in_modules``,
            compares features of two modules of the student.
    """
    images = images_for(student, input_shape)
    samples = noise_samples(len(images), input_shape)
    recorders = distiller.student_recorders
    first: set[str] = set()

    def note_first(index: int):
        distiller.refuse_halves(index)
        if index == 0:
            first.update(distiller.teacher_records_of(distiller.ready_losses()))

    modules = student.at_module_ends(note_first) if in_modules else nullcontext()
    try:
        run_teacher(images)
        # The student calls note_first only in a forward that records gradients.
        with recorders, modules, torch.set_grad_enabled(in_modules):
            run_network(student, images, sources_of(recorders))
        with torch.no_grad():
            distiller.compute_ready_losses({}, samples, explain=True)
    finally:
        distiller.drop_records()
    return first


def kept_teacher(algorithm: nn.Module, options: dict) -> KeptTeacher:
    """Return the teacher of an algorithm as one that keeps its records on disk.

    Args:
        algorithm (Distill): Complete except for this.
        options (dict): Arguments of :class:`KeptTeacher`; the preprocessor gives ``views``.

    Raises:
        ConfigError: If an option is unknown or missing, or the images of the training are random
            without a number of views.
    """
    known = set(inspect.signature(KeptTeacher).parameters) - {'teacher', 'sample', 'views'}
    for name in options:
        if name not in known:
            raise ConfigError(f'keep_teacher has no {name!r}; {near_names(name, known)}')
    for name in ('folder', 'images'):
        if name not in options:
            raise ConfigError(f'keep_teacher.{name} is missing')
    if algorithm.teacher_twice:
        raise ConfigError('teacher_twice=True is not for keep_teacher; set teacher_twice=False')
    views = getattr(algorithm.data_preprocessor, 'num_views', 1)
    if views is None:
        raise ConfigError(
            'keep_teacher: every epoch crops and flips anew, so that nothing comes again; set '
            'data_preprocessor.num_views, such as 8'
        )
    sample = images_for(algorithm.teacher, algorithm.input_shape)
    kept = KeptTeacher(algorithm.run_teacher, sample, views=views, **options)
    algorithm.distiller.drop_records()
    return kept
