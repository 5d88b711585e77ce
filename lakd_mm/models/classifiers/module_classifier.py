"""Any network from images to logits as a classifier of OpenMMLab."""

import inspect
import pkgutil
from typing import Any, Callable, Optional, Union

import torch
import torch.nn as nn
from mmpretrain.models import ClsHead, ImageClassifier
from mmrazor.registry import MODELS

from ...errors import ConfigError


@MODELS.register_module()
class ModuleClassifier(ImageClassifier):
    """Make a classifier of any ``torch.nn.Module`` from images to logits, such as torchvision's.

    The network is its ``backbone``, classifier included; the head only computes losses and
    predictions. As teacher or student, its places (stages, logits, class activation maps) are found
    by running it.

    Args:
        factory (str | Callable): What makes the network: a function, class or class method, or its
            import path.
        num_classes (int): K, the classes of the logits; also given to the factory if it takes it.
        loss (dict, optional): Of the head. Defaults to MMPretrain's ``CrossEntropyLoss``.
        topk (int | Sequence[int]): Of the head's accuracy. Defaults to 1.
        data_preprocessor (dict, optional): As in ``ImageClassifier``. Defaults to None.
        init_cfg (dict, optional): Defaults to None; the factory initializes the network. Weights
            have the classifier's names or the network's own, here and in every other checkpoint.
        **kwargs: Arguments of the factory.

    Raises:
        ConfigError: If there is no such factory, it makes no ``nn.Module``, or refuses an argument.

    Examples:
        >>> student = dict(
        ...     type='mmrazor.ModuleClassifier',
        ...     factory='torchvision.models.resnet18',
        ...     num_classes=10)
    """

    def __init__(
        self,
        factory: Union[str, Callable],
        num_classes: int,
        loss: Optional[dict] = None,
        topk: Any = 1,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
        **kwargs,
    ):
        network = _make(factory, num_classes, kwargs)
        head = ClsHead(loss=loss or dict(type='CrossEntropyLoss'), topk=topk)
        head.num_classes = num_classes
        super().__init__(
            backbone=network, head=head, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self._register_load_state_dict_pre_hook(_read_own_names)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> tuple[torch.Tensor]:
        """Run the network on images of shape (N, C, H, W).

        Returns:
            Tuple[torch.Tensor]: One tensor, logits of shape (N, K).

        Raises:
            ConfigError: If it gives no such tensor.
        """
        output = self.backbone(inputs)
        # Networks with auxiliary classifiers and those of transformers give more than logits.
        logits = getattr(output, 'logits', output)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            raise ConfigError(
                f'ModuleClassifier: {type(self.backbone).__name__} gives no logits of shape (N, K)'
            )
        if logits.shape[1] != self.head.num_classes:
            raise ConfigError(
                f'ModuleClassifier: {type(self.backbone).__name__} gives {logits.shape[1]} logits, '
                f'but num_classes={self.head.num_classes}; make them equal'
            )
        return (logits,)


def _read_own_names(state_dict: dict, prefix: str, *_):
    """Rename a network's own weights, in place, to those of the classifier that holds it."""
    names = [name for name in state_dict if name.startswith(prefix)]
    parts = tuple(f'{prefix}{part}.' for part in ('backbone', 'head', 'data_preprocessor'))
    if not all(name.startswith(parts) for name in names):
        for name in names:
            state_dict[f'{prefix}backbone.{name[len(prefix) :]}'] = state_dict.pop(name)


def _make(factory: Union[str, Callable], num_classes: int, kwargs: dict) -> nn.Module:
    """Make the network; the factory gets ``num_classes`` if it takes it."""
    make = factory
    if isinstance(factory, str):
        try:
            make = pkgutil.resolve_name(factory)
        except (ImportError, ValueError, AttributeError) as error:
            raise ConfigError(
                f'ModuleClassifier: no factory {factory!r} ({error}); give the import path of a '
                f'function or class, such as torchvision.models.resnet18'
            ) from None
    parameters = inspect.signature(make).parameters
    if 'num_classes' in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        kwargs = dict(kwargs, num_classes=num_classes)
    try:
        network = make(**kwargs)
    except TypeError as error:
        raise ConfigError(f'ModuleClassifier: factory={factory!r}: {error}') from None
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f'ModuleClassifier: factory={factory!r} makes a {type(network).__name__}, no nn.Module'
        )
    return network
