"""Several teachers that predict together."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import torch
import torch.nn as nn
from mmengine.model import BaseModel
from mmpretrain.models import ImageClassifier
from mmrazor.registry import MODELS

from ...compat.dense import check_dense_network
from ...errors import ConfigError


class WeightedMean(nn.Module):
    """The weighted mean of tensors of one shape.

    Args:
        weights (Sequence[float]): One for each; they sum to 1.
    """

    def __init__(self, weights: Sequence[float]):
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Compute the mean."""
        return sum(weight * tensor for weight, tensor in zip(self.weights, tensors))


@MODELS.register_module()
class TeacherEnsemble(ImageClassifier):
    r"""Classifiers that predict with the weighted mean of their logits.

    .. math::
        z = \sum_k w_k z_k, \quad \sigma(z / \tau) \propto \prod_k \sigma(z_k / \tau)^{w_k}

    the geometric mean of their predictions at any temperature, one of the two means in `Distilling
    the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_, section 2. Features and
    class activation maps are those of the first teacher; the others run only if a loss compares
    logits. A list under ``teacher`` is such an ensemble, with equal weights.

    Args:
        members (Sequence[dict | ImageClassifier]): Two or more, with the same classes.
        weights (Sequence[float], optional): One for each, not negative; they are divided by their
            sum. Defaults to None, equal weights.
        data_preprocessor (dict | nn.Module, optional): Defaults to the first one's.
        init_cfg (dict, optional): Defaults to None.

    Raises:
        ConfigError: If there are fewer than two, one is no image classifier, classes differ, or
            weights do not fit.

    Examples:
        >>> teacher = dict(
        ...     type='mmrazor.TeacherEnsemble',
        ...     members=[
        ...         dict(cfg_path='mmpretrain::resnet/resnet34_8xb16_cifar10.py'),
        ...         dict(cfg_path='mmpretrain::resnet/resnet50_8xb16_cifar10.py')],
        ...     weights=[2, 1])
    """

    # The module that gives the logits, which is no linear layer here.
    logits_module = 'mean'

    def __init__(
        self,
        members: Sequence[Union[dict, ImageClassifier]],
        weights: Optional[Sequence[float]] = None,
        data_preprocessor: Optional[Union[dict, nn.Module]] = None,
        init_cfg: Optional[dict] = None,
    ):
        if not isinstance(members, Sequence) or len(members) < 2:
            raise ConfigError('TeacherEnsemble: give two teachers or more; one needs no list')
        for member in members:
            check_dense_network(member, 'teacher')
        members = [MODELS.build(m) if isinstance(m, Mapping) else m for m in members]
        for member in members:
            if not isinstance(member, ImageClassifier):
                raise ConfigError(
                    f'TeacherEnsemble: {type(member).__name__} is no ImageClassifier; several '
                    f'teachers are for classifiers'
                )
        classes = [getattr(member.head, 'num_classes', None) for member in members]
        if len(set(classes)) > 1:
            raise ConfigError(
                f'TeacherEnsemble: the teachers have {", ".join(map(str, classes))} classes; give '
                f'teachers of the same classes'
            )
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError(
                f'TeacherEnsemble: weights={weights} are not {len(members)} numbers, none negative '
                f'and not all zero'
            )
        first, *others = members
        super().__init__(
            first.backbone,
            first.neck,
            first.head,
            data_preprocessor=data_preprocessor or first.data_preprocessor,
            init_cfg=init_cfg,
        )
        self.others = nn.ModuleList(others)
        self.mean = WeightedMean(weight / sum(weights) for weight in weights)
        # After the others, so that find_classifier, which takes the last linear layer, finds ours.
        for name in ('backbone', 'neck', 'head'):
            if name in self._modules:
                self._modules[name] = self._modules.pop(name)

    def first(self) -> ImageClassifier:
        """Return the first teacher, as a classifier of its own with the same layers."""
        return ImageClassifier(self.backbone, self.neck, self.head)

    def forward(
        self, inputs: torch.Tensor, data_samples: Optional[list] = None, mode: str = 'tensor'
    ) -> Any:
        """Compute the mean of the logits, or with mode 'predict' data samples with predictions.

        Args:
            inputs (torch.Tensor): Shape (N, C, H, W).
            data_samples (List[DataSample], optional): For mode 'predict'.
            mode (str): 'tensor' or 'predict'. Defaults to 'tensor'.

        Returns:
            torch.Tensor | List[DataSample]: Logits, shape (N, K), or predictions.

        Raises:
            ConfigError: With mode 'loss', for it is not trained.
        """
        if mode == 'loss':
            raise ConfigError('TeacherEnsemble is not trained; train each teacher by itself')
        own = super().forward(inputs, mode='tensor')
        logits = self.mean(own, *(other(inputs, mode='tensor') for other in self.others))
        if mode == 'tensor':
            return logits
        return self.head._get_predictions(logits, data_samples)


def build_teacher(teacher: Union[dict, BaseModel, Sequence]) -> nn.Module:
    """Build a teacher from its config; a list of several becomes a :class:`TeacherEnsemble`.

    Raises:
        ConfigError: If they do not fit together, or one needs a package that is not installed.
    """
    if isinstance(teacher, (list, tuple)):
        if len(teacher) != 1:
            return TeacherEnsemble(teacher)
        (teacher,) = teacher
    check_dense_network(teacher, 'teacher')
    return MODELS.build(teacher) if isinstance(teacher, Mapping) else teacher
