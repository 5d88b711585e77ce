"""Local attention knowledge distillation."""

from collections.abc import Sequence
from typing import Optional, Union

from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ...errors import ConfigError, refuse_ignored
from ..places.taps import Tap, resolve_taps
from ..places.trace import find_stages
from ..students import GradientDetachStudent
from ..teachers import build_teacher
from .distill import Distill
from .lakd_distiller import default_taps, lakd_distiller, shifted_taps


@MODELS.register_module()
class LAKD(Distill):
    """Local Attention Knowledge Distillation.

    Cuts after the taps divide the student into local modules. Each module learns from its own
    feature loss (Eq. 5, weighted by the activation mapping of Eq. 11 and 12), the last one also
    from the task loss and class attention transfer (Eq. 6). From *LAKD: Activation Mapping
    Distillation Based on Local Learning*. Keys hold what the paper leaves open, at our reading.

    The log holds ``student.loss`` (task), ``distill.loss_module1`` … (one for each tap) and
    ``distill.loss_cat``.

    Args:
        architecture (dict | BaseModel): The student, a classifier; or a
            :class:`GradientDetachStudent`, which has its own ``taps``, ``detach`` and
            ``input_shape``.
        teacher (dict | BaseModel | list): The teacher, frozen and in eval mode; a list makes a
            :class:`TeacherEnsemble`, whose first teacher gives features and class maps.
        teacher_ckpt (str | list, optional): Its checkpoint, a path or URL, which must fit exactly.
        taps (Sequence[int | str], optional): The student's taps. Defaults to the first block of
            each stage but the last, and the last block of the last stage: the paper's 1, n + 1, 3n;
            or the convolution behind it, as in MobileNetV2, if that keeps the resolution.
        teacher_taps (Sequence[int | str], optional): The teacher's tap for each of these. Defaults
            to the ends of its stages (our reading: shifted student taps keep their targets).
        feature_loss (dict, optional): Defaults to ``NDAMFeatureLoss()``.
        feature_weights (Sequence[float], optional): Factors of the ``loss_weight`` of the feature
            loss, one for each tap: beta of Eq. 6 by module. Defaults to 1 for all.
        attention_loss (dict, optional): Compares class activation maps; None for no such loss.
            Defaults to ``CATLoss()``.
        extra_losses (Dict[str, dict], optional): Further losses by their names in the log, each as
            in :class:`Distill`'s ``transfers``. Each trains the module that contains its place;
            at 'logits', 'pooled' or 'cams' this is the last one. Defaults to None.
        connectors (Dict[str, dict], optional): By 'module1' …, the connector that adapts the
            student's feature at this tap to the teacher's. Without one, LAKD makes a convolution
            and BatchNorm if shapes differ (our reading; of the paper's pairs only WRN-40-2 to
            WRN-40-1 needs one).
        detach (bool): Whether to cut gradients; False is the paper's ablation. Defaults to True.
        feature_at_last (bool): Whether the last tap has a feature loss too (Eq. 6). Defaults to
            True.
        tap_position (str): Which feature of a residual block is compared, 'post_relu' or
            'pre_relu'. Our reading is 'post_relu'. Pre-activation blocks (wide ResNets) give their
            signed sum for both.
        ndam_source (str): Source of the activation mapping: the teacher's feature at the same
            'tap', its class activation maps ('cam') or its feature at the previous tap ('prev').
            Our reading is 'tap'.
        paper_mix (float | bool, optional): alpha of Eq. 6, or True for 0.5. It weights the task
            loss by alpha, and the attention loss by 1 - alpha in addition to its own weight. Our
            reading is None: weights as given.
        ce_weight (float): Weight of the task loss. Defaults to 1.
        distiller (dict, optional): MMRazor's long form (recorders, connectors, losses and mappings)
            instead of the keys above. Defaults to None.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for the runs on noise that check
            taps and shapes. Defaults to (3, 32, 32).
        **kwargs: ``backward`` and other arguments of :class:`Distill`.

    Raises:
        ConfigError: If taps, shapes, connectors or the teacher's checkpoint do not fit, or a key
            would be ignored beside the others.

    Examples:
        >>> model = dict(
        ...     type='mmrazor.LAKD',
        ...     architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'),
        ...     teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb16_cifar10.py'),
        ...     teacher_ckpt='resnet34_cifar10.pth',
        ...     taps=[1, 3, 5, 8],
        ...     teacher_taps=[3, 7, 13, 16],
        ...     attention_loss=dict(type='mmrazor.CATLoss', loss_weight=0.7))
    """

    def __init__(
        self,
        architecture: Union[dict, BaseModel],
        teacher: Union[dict, BaseModel],
        teacher_ckpt: Optional[str] = None,
        taps: Optional[Sequence[Tap]] = None,
        teacher_taps: Optional[Sequence[Tap]] = None,
        feature_loss: Optional[dict] = None,
        feature_weights: Optional[Sequence[float]] = None,
        attention_loss: Optional[dict] = dict(type='mmrazor.CATLoss'),  # noqa: B006
        extra_losses: Optional[dict[str, dict]] = None,
        connectors: Optional[dict[str, dict]] = None,
        detach: bool = True,
        feature_at_last: bool = True,
        tap_position: str = 'post_relu',
        ndam_source: str = 'tap',
        paper_mix: Union[float, bool, None] = None,
        ce_weight: float = 1.0,
        distiller: Optional[dict] = None,
        input_shape: Sequence[int] = (3, 32, 32),
        **kwargs,
    ):
        if isinstance(architecture, dict):
            architecture = MODELS.build(architecture)
        teacher = build_teacher(teacher)
        if not isinstance(architecture, GradientDetachStudent):
            if distiller is None:
                taps, teacher_taps = default_taps(
                    architecture, teacher, taps, teacher_taps, input_shape
                )
            elif taps is None:
                stages = find_stages(architecture, input_shape)
                taps = shifted_taps(architecture, stages, input_shape)
            architecture = GradientDetachStudent(architecture, taps, detach, input_shape)
        else:
            own_shape = tuple(input_shape) == architecture.input_shape
            refuse_ignored(
                LAKD,
                'beside a GradientDetachStudent, which has its own; set it there',
                taps=taps,
                detach=detach,
                **({} if own_shape else dict(input_shape=input_shape)),
            )
        if isinstance(paper_mix, bool):
            paper_mix = 0.5 if paper_mix else None
        if distiller is not None:
            refuse_ignored(
                LAKD,
                'beside a distiller, which is given in full; write it into the distiller',
                teacher_taps=teacher_taps,
                feature_loss=feature_loss,
                feature_weights=feature_weights,
                attention_loss=attention_loss,
                extra_losses=extra_losses or None,
                connectors=connectors or None,
                feature_at_last=feature_at_last,
                tap_position=tap_position,
                ndam_source=ndam_source,
                paper_mix=paper_mix,
            )
        if paper_mix is not None:
            if not 0 <= paper_mix <= 1:
                raise ConfigError(f'paper_mix={paper_mix} is not between 0 and 1')
            refuse_ignored(
                LAKD, f'with paper_mix={paper_mix}, which sets it; give one', ce_weight=ce_weight
            )
            ce_weight = paper_mix
            if attention_loss is not None:
                weight = attention_loss.get('loss_weight', 1.0) * (1 - paper_mix)
                attention_loss = dict(attention_loss, loss_weight=weight)
        teacher_tap_names = None
        if distiller is None:
            taps, shape = architecture.tap_names, architecture.input_shape
            _, teacher_taps = default_taps(architecture, teacher, taps, teacher_taps, shape)
            if feature_loss is None:
                feature_loss = dict(type='mmrazor.NDAMFeatureLoss')
            teacher_tap_names = resolve_taps(teacher, teacher_taps, 'teacher_taps')
            cuts = architecture.detach
            with architecture.uncut():
                distiller = lakd_distiller(
                    architecture.architecture,
                    teacher,
                    student_taps=taps,
                    teacher_taps=teacher_tap_names,
                    feature_loss=feature_loss,
                    feature_weights=feature_weights,
                    attention_loss=attention_loss,
                    extra_losses=extra_losses or {},
                    connectors=connectors or {},
                    feature_at_last=feature_at_last,
                    tap_position=tap_position,
                    ndam_source=ndam_source,
                    detach=cuts,
                    input_shape=shape,
                )
        super().__init__(
            architecture=architecture,
            teacher=teacher,
            teacher_ckpt=teacher_ckpt,
            distiller=distiller,
            ce_weight=ce_weight,
            **kwargs,
        )
        # Metrics compare the student's taps with these.
        self.teacher_tap_names = teacher_tap_names
