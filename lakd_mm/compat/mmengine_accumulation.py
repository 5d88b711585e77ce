"""Repair of MMEngine's accumulated gradients, which no checkpoint holds.

All releases lose the gradients that wait for those of later iterations when a run is resumed there,
as at the end of an epoch of 10 iterations with ``accumulative_counts=3``, and warn of it. Here they
are part of the optimizer's state: ``gradients``, for each parameter a list with that of each rank.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Optional

import torch
from mmengine.dist import gather, get_rank, get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner


def _parameters(wrapper: OptimWrapper) -> Iterator[torch.nn.Parameter]:
    for group in wrapper.optimizer.param_groups:
        yield from group['params']


def gather_gradients(runner: Runner):
    """Give the first process what waits in all; each has to call this before a checkpoint."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    for wrapper in wrappers if get_world_size() > 1 else ():
        wrapper._gathered = wrapper._inner_count, _waiting(wrapper)


def _waiting(wrapper: OptimWrapper) -> Optional[list]:
    """Return the gradients that wait, each of all processes, on the first of these."""
    if wrapper.should_update():
        return None
    gradients = (parameter.grad for parameter in _parameters(wrapper))
    return [None if g is None else [one.cpu() for one in gather(g)] for g in gradients]


def repair_state(state_dict: Callable) -> Callable:
    """Add the gradients that wait."""

    @functools.wraps(state_dict)
    def state_with_gradients(self: OptimWrapper) -> dict:
        state = state_dict(self)
        if get_world_size() == 1:
            gradients = _waiting(self)
        else:
            count, gradients = getattr(self, '_gathered', (None, None))
            gradients = gradients if count == self._inner_count else None
        return state if gradients is None else dict(state, gradients=gradients)

    return state_with_gradients


def repair_load(load_state_dict: Callable) -> Callable:
    """Put gradients back that waited, if there are as many processes."""

    @functools.wraps(load_state_dict)
    def load_with_gradients(self: OptimWrapper, state_dict: dict):
        gradients = state_dict.pop('gradients', None) or []
        load_state_dict(self, state_dict)
        if any(g and len(g) != get_world_size() for g in gradients):
            return
        for parameter, of_ranks in zip(_parameters(self), gradients):
            if of_ranks:
                parameter.grad = of_ranks[get_rank()].to(parameter.device)
                self._goes_on = True

    return load_with_gradients


def repair_count(initialize: Callable) -> Callable:
    """Warn of lost gradients only where they are."""

    @functools.wraps(initialize)
    def initialize_quietly(self: OptimWrapper, model, init_counts: int, max_counts: int):
        goes_on = self.__dict__.pop('_goes_on', False)
        initialize(self, model, 0 if goes_on else init_counts, max_counts)
        self._inner_count = init_counts

    return initialize_quietly


def repair_save(save: Callable) -> Callable:
    """Gather before a checkpoint is saved, which the first process does alone."""

    @functools.wraps(save)
    def save_gathered(self: CheckpointHook, runner: Runner):
        gather_gradients(runner)
        save(self, runner)

    return save_gathered


def apply():
    """Apply the repair once."""
    if hasattr(OptimWrapper.initialize_count_status, '__wrapped__'):
        return
    OptimWrapper.state_dict = repair_state(OptimWrapper.state_dict)
    for wrapper in (OptimWrapper, AmpOptimWrapper):
        wrapper.load_state_dict = repair_load(wrapper.load_state_dict)
    OptimWrapper.initialize_count_status = repair_count(OptimWrapper.initialize_count_status)
    CheckpointHook._save_checkpoint = repair_save(CheckpointHook._save_checkpoint)
