"""Several teachers that predict together."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import torch
import torch.nn as nn
from mmengine.model import BaseModel, ModuleList
from mmpretrain.models import BaseClassifier
from mmrazor.registry import MODELS

from ...compat.dense import check_dense_network
from ...errors import ConfigError
from ..data_preprocessor import with_default_type


class WeightedMean(nn.Module):
    """The weighted mean of tensors of one shape.

    Args:
        weights (Sequence[float]): One for each; they sum to 1.
    """

    def __init__(self, weights: Sequence[float]):
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, *logits: torch.Tensor) -> torch.Tensor:
        """Compute the mean."""
        if len({tensor.shape for tensor in logits}) > 1:
            classes = ', '.join(str(tensor.shape[-1]) for tensor in logits)
            raise ConfigError(
                f'TeacherEnsemble: the teachers give {classes} logits; give teachers of the same '
                f'classes'
            )
        return sum(weight * tensor for weight, tensor in zip(self.weights, logits))


@MODELS.register_module()
class TeacherEnsemble(BaseClassifier):
    r"""Classifiers that predict with the weighted mean of their logits.

    .. math::
        z = \sum_k w_k z_k, \quad \sigma(z / \tau) \propto \prod_k \sigma(z_k / \tau)^{w_k}

    the geometric mean of their predictions at any temperature, one of the two means in `Distilling
    the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_, section 2. Features and
    class activation maps are those of the first teacher; the others run only if a loss compares
    logits. A list under ``teacher`` is such an ensemble, with equal weights.

    Args:
        members (Sequence[dict | BaseClassifier]): Two or more, with the same classes.
        weights (Sequence[float], optional): One for each, not negative; they are divided by their
            sum. Defaults to None, equal weights.
        data_preprocessor (dict | nn.Module, optional): Defaults to the first one's.
        init_cfg (dict, optional): Defaults to None.

    Raises:
        ConfigError: If there are fewer than two, one is no image classifier, or weights do not fit;
            when they run, if classes differ.

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
        members: Sequence[Union[dict, BaseClassifier]],
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
            if not isinstance(member, BaseClassifier) or isinstance(member, TeacherEnsemble):
                raise ConfigError(
                    f'TeacherEnsemble: {type(member).__name__} is no single classifier of '
                    f'MMPretrain, such as an ImageClassifier; give a list of those'
                )
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError(
                f'TeacherEnsemble: weights={weights} are not {len(members)} numbers, none negative '
                f'and not all zero'
            )
        first, *others = members
        preprocessor = with_default_type(data_preprocessor) or first.data_preprocessor
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        # A tuple keeps PyTorch from registering the first one: its parts are ours.
        self._first = (first,)
        self.others = ModuleList(others)
        self.mean = WeightedMean(weight / sum(weights) for weight in weights)
        # After the others, so that find_classifier, which takes the last linear layer, finds ours.
        for name, part in first.named_children():
            if name != 'data_preprocessor':
                setattr(self, name, part)
        if not hasattr(self, 'neck'):
            self.neck = None

    def first(self) -> BaseClassifier:
        """Return the first teacher, with the same layers."""
        return self._first[0].train(self.training)

    def init_weights(self):
        """Initialize each teacher as it does it alone."""
        first = self._first[0]
        if not first.is_init:
            # MMEngine hands a note on each weight down to the modules that it knows.
            notes = vars(self).get('_params_init_info')
            if notes is not None:
                first._params_init_info = notes
            first.init_weights()
            vars(first).pop('_params_init_info', None)
        super().init_weights()

    def extract_feat(self, *args, **kwargs) -> Any:
        """Compute the features of the first teacher, as it does."""
        return self._first[0].extract_feat(*args, **kwargs)

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
        members = (*self._first, *self.others)
        logits = self.mean(*(member(inputs, mode='tensor') for member in members))
        if mode == 'tensor':
            return logits
        return getattr(self, 'head', self._first[0])._get_predictions(logits, data_samples)


def build_teacher(teacher: Union[dict, BaseModel, Sequence]) -> nn.Module:
    """Build a teacher from its config; a list of several becomes a :class:`TeacherEnsemble`.

    Raises:
        ConfigError: If they do not fit together, or one needs a package that is not installed.
    """
    if isinstance(teacher, (list, tuple)) and len(teacher) == 1:
        (teacher,) = teacher
    if not isinstance(teacher, (Mapping, list, tuple)):
        return teacher
    given = copy.deepcopy(teacher)  # constructors write into configs
    if isinstance(teacher, Mapping):
        check_dense_network(teacher, 'teacher')
        network = MODELS.build(teacher)
    else:
        network = TeacherEnsemble(teacher)
    # Of one that is shared, the first config is the true one.
    vars(network).setdefault('_made_from', given)
    return network


def brings_weights(teacher: nn.Module) -> bool:
    """Initialize a teacher, and return whether its weights are more than random numbers.

    They may come from ``init_cfg``, or from what makes the network, as torchvision's ``weights``.
    A network that is made again, from other random numbers, then has them too.

    Args:
        teacher (nn.Module): From :func:`build_teacher`, without a checkpoint so far.

    Returns:
        bool: Whether that is so for most weights, of each teacher if there are several; False for a
        network that was not made from a config.
    """
    given = getattr(teacher, '_made_from', None)
    if given is None:
        return False
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed() + 1)
        other = build_teacher(given)
        for network in (teacher, other):
            if not getattr(network, 'is_init', True):
                network.init_weights()
    return all(map(_mostly_equal, _members(teacher), _members(other)))


def _members(teacher: nn.Module) -> list[nn.Module]:
    ensemble = isinstance(teacher, TeacherEnsemble)
    return [teacher.first(), *teacher.others] if ensemble else [teacher]


def _mostly_equal(network: nn.Module, other: nn.Module) -> bool:
    """Return whether most weights are equal; biases and norms start with the same values anyway."""
    pairs = [
        (weight.cpu(), others.cpu())
        for weight, others in zip(network.parameters(), other.parameters())
        if weight.ndim > 1
    ]
    equal = sum(weight.numel() for weight, others in pairs if torch.equal(weight, others))
    return 2 * equal > sum(weight.numel() for weight, _ in pairs)
