"""A student cut into local modules that no gradient crosses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Optional, Union

import torch
import torch.nn as nn
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from ...errors import ConfigError
from ..data_preprocessor import with_default_type
from ..nested import detached
from ..places.followers import find_followers
from ..places.taps import Tap, resolve_taps

_INNER = 'architecture.'


@MODELS.register_module()
class GradientDetachStudent(BaseModel):
    """Wrap any classifier and cut the gradient after each tap.

    A tap ends a local module. The layer that takes the tap's output starts the next module and gets
    its input detached. Forward values are those of the plain network. The tap's own output, and so
    a recorder on it, still carries the gradient of its module. The last tap cuts nothing if no
    layer of the backbone follows: final normalization, neck and head belong to the last module.
    This is the separation-decoupling mechanism of LAKD (Eq. 7 to 9).

    One run on noise finds what follows a tap, so networks need no change and no particular names.
    In checkpoints parameters have the plain classifier's names: each loads the other's.

    Args:
        architecture (dict | BaseModel): The classifier or its config.
        taps (Sequence[int | str]): 1-based residual blocks as in the paper, or module names.
        detach (bool): Whether gradients are cut; can be changed at any time. Defaults to True.
        input_shape (Sequence[int]): Shape (C, H, W) of an image that the network takes, for that
            one run. Defaults to (3, 32, 32).
        data_preprocessor (dict | nn.Module, optional): Defaults to the classifier's.
        init_cfg (dict, optional): Defaults to None.

    Attributes:
        tap_names (List[str]): The module that each tap is.
        num_cuts (int): Number of taps that are cut, because a layer follows.

    Raises:
        ConfigError: If a tap is unknown, out of order, inside another, or cannot be isolated.

    Examples:
        >>> student = dict(
        ...     type='mmrazor.GradientDetachStudent',
        ...     architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'),
        ...     taps=[1, 3, 5, 8])
    """

    def __init__(
        self,
        architecture: Union[dict, BaseModel],
        taps: Sequence[Tap],
        detach: bool = True,
        input_shape: Sequence[int] = (3, 32, 32),
        data_preprocessor: Optional[Union[dict, nn.Module]] = None,
        init_cfg: Optional[dict] = None,
    ):
        if isinstance(architecture, dict):
            architecture = MODELS.build(architecture)
        if not isinstance(architecture, BaseModel):
            raise ConfigError(
                f'GradientDetachStudent: {type(architecture).__name__} is no classifier (no '
                f'mmengine BaseModel); wrap the backbone in an ImageClassifier'
            )
        if data_preprocessor is None:
            data_preprocessor = getattr(architecture, 'data_preprocessor', None)
        super().__init__(with_default_type(data_preprocessor), init_cfg)
        self.architecture = architecture
        self.detach = detach
        self.input_shape = tuple(input_shape)
        self._at_module_end: Optional[Callable[[int], None]] = None
        self.tap_names = resolve_taps(architecture, taps)

        followers = find_followers(architecture, self.tap_names, self.input_shape)
        self.num_cuts = sum(map(bool, followers.values()))
        # Taps that are cut at their own output, and the hook that does so, after all recorders.
        self._ends: list[tuple[str, int]] = []
        for index, (tap, names) in enumerate(followers.items()):
            for name in names:
                module = architecture.get_submodule(name)
                if name == tap:
                    hook = module.register_forward_hook(partial(self._end_module, index))
                    self._ends.append((tap, hook.id))
                else:
                    module.register_forward_pre_hook(
                        partial(self._start_next_module, index), with_kwargs=True
                    )
        # MMEngine and PyTorch save and load differently, but both call these.
        self._register_state_dict_hook(_leave_out_wrapper)
        self._register_load_state_dict_pre_hook(_put_in_wrapper)

    def __getattr__(self, name: str) -> Any:
        """Look up ``backbone``, ``head``, ``extract_feat`` and the like in the classifier."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__('architecture'), name)

    def forward(
        self, inputs: torch.Tensor, data_samples: Optional[list] = None, mode: str = 'tensor'
    ) -> Any:
        """Run the classifier, see :meth:`mmpretrain.models.ImageClassifier.forward`."""
        for tap, hook in self._ends:
            self.architecture.get_submodule(tap)._forward_hooks.move_to_end(hook)
        return self.architecture(inputs, data_samples, mode=mode)

    @contextmanager
    def uncut(self) -> Iterator[None]:
        """Let gradients pass the cuts inside."""
        detach, self.detach = self.detach, False
        try:
            yield
        finally:
            self.detach = detach

    @contextmanager
    def at_module_ends(self, call: Callable[[int], None]) -> Iterator[None]:
        """Call a function when a module is complete and the next one is about to start.

        Args:
            call (Callable[[int], None]): Gets the module's index, from 0. It is not called for the
                last module, nor in a forward that records no gradients.
        """
        self._at_module_end = call
        try:
            yield
        finally:
            self._at_module_end = None

    def _start_next_module(self, index: int, module: nn.Module, args: tuple, kwargs: dict):
        """Cut in front of a module that takes the output of tap ``index``, as its pre-hook."""
        if not torch.is_grad_enabled():
            return None
        if self._at_module_end is not None:
            self._at_module_end(index)
        return (detached(args), detached(kwargs)) if self.detach else None

    def _end_module(self, index: int, module: nn.Module, args: tuple, output: Any):
        """Cut at the output of tap ``index``, as its last hook."""
        if not torch.is_grad_enabled():
            return None
        if self._at_module_end is not None:
            self._at_module_end(index)
        return detached(output) if self.detach else None


def _leave_out_wrapper(module, state_dict, prefix, local_metadata):
    """Name the parameters in a saved state as the plain classifier does."""
    for key in list(state_dict):
        if key.startswith(prefix + _INNER):
            state_dict[prefix + key[len(prefix + _INNER) :]] = state_dict.pop(key)


def _put_in_wrapper(state_dict, prefix, *_):
    """Turn the plain classifier's names into the wrapper's, before loading."""
    for key in list(state_dict):
        if key.startswith(prefix):
            state_dict[prefix + _INNER + key[len(prefix) :]] = state_dict.pop(key)
