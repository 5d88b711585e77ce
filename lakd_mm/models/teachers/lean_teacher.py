"""A frozen teacher that runs no more than distillation needs."""

import copy
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Optional

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmrazor.models.task_modules import RecorderManager
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..nested import tensors_in
from ..places.probe import run_network, sources_of
from ..places.taps import compile_blocks


class _Enough(Exception):
    """Raised in a forward as soon as all records are complete."""


class LeanTeacher:
    """Run a fast copy of a frozen teacher, for its records only.

    The copy fills the teacher's own recorders. It is made again whenever the teacher's weights,
    device, type, hooks or modules have changed. Under autocast the copy holds its weights in
    autocast's type, instead of casting them in every step; its records then have that type.

    Args:
        teacher (BaseModel): The teacher, in eval mode; it is not changed.
        recorders (RecorderManager): Its initialized recorders.
        sample (torch.Tensor): Images to try it on, shape (N, C, H, W).
        fold_batchnorm (bool): Whether to fold each BatchNorm into the convolution before it.
            Defaults to True.
        inplace (bool): Whether activations work in place. Defaults to True. If one of these two
            would change a record, it is not applied, and the log says so.
        channels_last (bool): Whether to compute in channels-last memory format. Defaults to True.
        stop_early (bool): Whether to stop at the last record: no neck, no head, no later stage.
            Defaults to True.
        compile (dict, optional): Arguments of :func:`torch.compile` for its residual blocks.
            Defaults to None, nothing is compiled.
    """

    def __init__(
        self,
        teacher: BaseModel,
        recorders: RecorderManager,
        sample: torch.Tensor,
        fold_batchnorm: bool = True,
        inplace: bool = True,
        channels_last: bool = True,
        stop_early: bool = True,
        compile: Optional[dict] = None,
    ):
        self.teacher = teacher
        self.recorders = recorders
        self.channels_last = channels_last
        self.stop_early = stop_early
        self.compile = compile
        self._copy: Optional[nn.Module] = None
        # The teacher's state and autocast's type when the copy was made, and the copy's own type.
        self._copied = None
        self._dtype: Optional[torch.dtype] = None
        self._held: Optional[torch.dtype] = None
        self._watched = _Watched(teacher)
        # By recorded module, the number of its records in a run.
        self._calls: dict[str, int] = {}
        self._num_hooks = len(_hooks(teacher))
        self.changes: list[Callable[[nn.Module], object]] = []
        plain, counts = self._records(sample)
        if stop_early:
            self._calls = counts
        changes = ((fold_batchnorm, fold_batchnorms), (inplace, _work_in_place))
        self._choose([change for wanted, change in changes if wanted], plain, sample)

    def _choose(self, changes: list, plain: list, sample: torch.Tensor):
        """Apply the changes that leave the records as they are."""
        self.changes = changes
        if not changes or self._gives(plain, sample):
            return
        # Find those that change a record.
        self.changes = []
        for change in changes:
            self.changes.append(change)
            if not self._gives(plain, sample):
                self.changes.remove(change)
                print_log(
                    f'{change.__name__} is not applied to the teacher: it would change what is '
                    f'recorded.',
                    logger='current',
                )

    def watched_state(self) -> list:
        """Return a value that stays equal as long as nothing of the teacher changes."""
        return self._watched.state()

    def __call__(
        self,
        inputs: torch.Tensor,
        awaited: Optional[Collection[str]] = None,
        samples: Optional[Sequence[Any]] = None,
    ):
        """Fill the recorders.

        Args:
            inputs (torch.Tensor): Images, shape (N, C, H, W).
            awaited (Collection[str], optional): Names of the recorders to fill; with ``stop_early``
                the run ends after these. Defaults to None, all of them.
            samples (Sequence[DataSample], optional): For a :class:`KeptTeacher`.
        """
        device = inputs.device.type
        dtype = autocast_dtype(inputs)
        now = self._watched.state()
        if now != self._copied or dtype != self._dtype:
            self._watched = _Watched(self.teacher)
            self._copied, self._dtype = self._watched.state(), dtype
            self._copy = self._make_copy()
            self._held = dtype if dtype is not None and self._runs_in(dtype, inputs) else None
            self._copy.to(self._held)
            if self.compile is not None:
                compile_blocks(self._copy, **self.compile)
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._held is None:
            self._run(self._copy, inputs, awaited)
        else:
            with torch.autocast(device, enabled=False):
                self._run(self._copy, inputs.to(self._held), awaited)

    def _runs_in(self, dtype: torch.dtype, inputs: torch.Tensor) -> bool:
        """Tell whether the teacher runs with weights of a type; layers may need another."""
        try:
            with torch.autocast(inputs.device.type, enabled=False):
                self._run(self._make_copy().to(dtype), inputs[:1].to(dtype))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            print_log(
                f'The teacher does not run with weights held in {dtype} ({error}); they are cast '
                f'in each step.',
                logger='current',
            )
            return False
        return True

    def _make_copy(self) -> nn.Module:
        # The hooks of the copy must fill the original recorders, so these are not copied.
        shared = {id(recorder): recorder for recorder in self.recorders.recorders.values()}
        network = copy.deepcopy(self.teacher, shared)
        for change in self.changes:
            change(network)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        # With other hooks on the teacher, all of it has to run.
        if len(_hooks(self.teacher)) == self._num_hooks:
            for name in self._calls:
                hook = partial(self._count_down, name)
                network.get_submodule(name).register_forward_hook(hook)
        return network

    def _run(
        self,
        network: nn.Module,
        inputs: torch.Tensor,
        awaited: Optional[Collection[str]] = None,
    ):
        sources = self._calls
        if awaited is not None:
            sources = {self.recorders.get_recorder(name).source for name in awaited}
        self._left = {name: n for name, n in self._calls.items() if name in sources}
        whole = not self.stop_early or len(_hooks(self.teacher)) != self._num_hooks
        with self.recorders, torch.no_grad(), suppress(_Enough):
            run_network(network, inputs, sources_of(self.recorders), whole)

    def _count_down(self, name: str, module: nn.Module, args: tuple, output):
        if name in self._left:
            self._left[name] -= 1
            if not any(self._left.values()):
                raise _Enough

    def _gives(self, expected: list, sample: torch.Tensor) -> bool:
        try:
            return _close(expected, self._records(sample)[0])
        except RuntimeError:  # a convolution and a BatchNorm that do not belong together
            return False

    def _records(self, sample: torch.Tensor) -> tuple[list, dict[str, int]]:
        """Return all records, in float64 against rounding, and their number by module."""
        self._run(self._make_copy().double(), sample.double())
        records, counts = [], {}
        for recorder in self.recorders.recorders.values():
            records += recorder.data_buffer
            counts[recorder.source] = len(recorder.data_buffer)
            recorder.reset_data_buffer()
        modules = dict(self.teacher.named_modules())
        return records, counts if counts.keys() <= modules.keys() else {}


class _Watched:
    """The dicts in which a network keeps its tensors, hooks and modules, to notice changes fast."""

    def __init__(self, network: nn.Module):
        modules = list(network.modules())
        self.tensors = [d for m in modules for d in (m._parameters, m._buffers) if d]
        self.hooks = [d for m in modules for d in (m._forward_hooks, m._forward_pre_hooks)]
        self.children = [m._modules for m in modules if m._modules]

    def state(self) -> list:
        """Return a value that stays equal as long as nothing changes, ``.data`` included."""
        state: list = [
            (id(tensor), tensor._version, tensor.data_ptr())
            for tensors in self.tensors
            for tensor in tensors.values()
            if tensor is not None
        ]
        state += [i for hooks in self.hooks if hooks for i in hooks]
        state += [id(child) for children in self.children for child in children.values()]
        return state


def autocast_dtype(like: torch.Tensor) -> Optional[torch.dtype]:
    """Return the type of autocast on a tensor's device; None outside autocast."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _hooks(network: nn.Module) -> list:
    """List the ids of all forward hooks in a network."""
    return [i for m in network.modules() for i in (*m._forward_hooks, *m._forward_pre_hooks)]


def fold_batchnorms(network: nn.Module):
    """Fold each BatchNorm that directly follows a convolution into it, in place."""
    # Not MMCV's fuse_conv_bn: it would fold the last BatchNorm of a pre-activation network into
    # the stem, the last convolution among its siblings.
    for parent in network.modules():
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())


def _work_in_place(network: nn.Module):
    for module in network.modules():
        if hasattr(module, 'inplace'):
            module.inplace = True


def _close(expected: list, found: list, tolerance: float = 1e-5) -> bool:
    """Return whether two lists of records hold the same tensors, up to a relative error."""
    expected, found = tensors_in(expected), tensors_in(found)
    return len(expected) == len(found) and all(
        e.shape == f.shape and (e - f).norm() <= tolerance * e.norm()
        for e, f in zip(expected, found)
    )
