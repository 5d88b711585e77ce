"""Repair of MMEngine's random numbers, which a resumed run does not continue.

All releases seed once, at the start of a process, and save no random state. Here the random state
at the start of an epoch, or of an iteration where a run has no epochs, is a function of the seed,
the process's rank and that number, so that a resumed run equals an unbroken one.
"""

import functools
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader


def reseed(*numbers: int) -> int:
    """Seed every generator by numbers and the rank, and return the seed, of 31 bits."""
    seed = int(np.random.SeedSequence([*numbers, get_rank()]).generate_state(1)[0]) >> 1
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def seed_workers(loader: DataLoader, seed: int):
    """Have new workers, with a seed of their own, load the next epoch.

    Upstream seeds workers alike in each epoch; those that persist go on with their random state.
    """
    init = loader.worker_init_fn
    if isinstance(init, functools.partial) and 'seed' in init.keywords:
        loader.worker_init_fn = functools.partial(init.func, **{**init.keywords, 'seed': seed})
        loader._iterator = None


def repair_run_epoch(run_epoch: Callable) -> Callable:
    """Seed an epoch and its workers."""

    @functools.wraps(run_epoch)
    def run_seeded(self: EpochBasedTrainLoop):
        seed_workers(self.dataloader, reseed(self.runner.seed, self._epoch))
        run_epoch(self)

    return run_seeded


def repair_run(run: Callable) -> Callable:
    """Have the batches of a loop without epochs seeded."""

    @functools.wraps(run)
    def run_seeded(self: IterBasedTrainLoop):
        self.dataloader_iterator.seed = self.runner.seed
        return run(self)

    return run_seeded


def repair_next(fetch: Callable) -> Callable:
    """Seed each iteration before its batch is fetched."""

    @functools.wraps(fetch)
    def fetch_seeded(self: _InfiniteDataloaderIterator) -> Sequence[dict]:
        if hasattr(self, 'seed'):
            self.fetched = getattr(self, 'fetched', 0) + 1
            reseed(self.seed, self.fetched)
        return fetch(self)

    return fetch_seeded


def repair_resume(resume: Callable) -> Callable:
    """Give the sampler, built before, the seed that a checkpoint brings.

    All releases take over the seed where the config gives none, for everything but the order of
    the images.
    """

    @functools.wraps(resume)
    def resume_order(self: Runner, *args, **kwargs):
        before = self.seed
        resume(self, *args, **kwargs)
        sampler = getattr(self.train_dataloader, 'sampler', None)
        if getattr(sampler, 'seed', None) == before:
            sampler.seed = self.seed

    return resume_order


def apply():
    """Apply the repair once."""
    if hasattr(EpochBasedTrainLoop.run_epoch, '__wrapped__'):
        return
    EpochBasedTrainLoop.run_epoch = repair_run_epoch(EpochBasedTrainLoop.run_epoch)
    IterBasedTrainLoop.run = repair_run(IterBasedTrainLoop.run)
    _InfiniteDataloaderIterator.__next__ = repair_next(_InfiniteDataloaderIterator.__next__)
    Runner.resume = repair_resume(Runner.resume)
