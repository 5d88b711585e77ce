"""Repair of MMEngine's random numbers, which a resumed run does not continue.

All releases seed once, at the start of a process, and save no random state. Here the random state
at the start of an epoch, or of an iteration where a run has no epochs, is a function of the seed,
the process's rank and that number, so that a resumed run equals an unbroken one. A checkpoint from
the middle of an epoch holds its position there, see :func:`position`.
"""

import functools
import random
import signal
from collections.abc import Callable, Iterator, Sequence

import mmengine.runner.runner
import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

from ..errors import ConfigError


def reseed(*numbers: int) -> int:
    """Seed every generator by numbers and the rank, and return the seed, of 31 bits."""
    seed = int(np.random.SeedSequence([*numbers, get_rank()]).generate_state(1)[0]) >> 1
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def position(batches: int) -> dict:
    """Return what an epoch is resumed with behind ``batches``; every process has to call this.

    It goes into a checkpoint's ``meta['position']``: the batches that are done, and for each rank
    the states of the generators, as plain data.
    """
    kind, keys, *rest = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(kind, keys.tolist(), *rest),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    )
    return dict(batches=batches, random=all_gather_object(state))


def restore_random(states: Sequence[dict]):
    """Set every generator as this rank's was in :func:`position`.

    Raises:
        ConfigError: If the training was on another number of processes.
    """
    if len(states) != get_world_size():
        raise ConfigError(
            f'the checkpoint lies inside an epoch of {len(states)} processes, here are '
            f'{get_world_size()}, which divide the images otherwise. Resume on as many, or from '
            'the checkpoint of a whole epoch (--resume epoch_N.pth).'
        )
    state = states[get_rank()]
    random.setstate(state['python'])
    np.random.set_state(tuple(state['numpy']))
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def batches_from(loader: DataLoader, done: int) -> Iterator:
    """Return an iterator over an epoch's batches behind the first ``done``.

    The process itself does not load these; workers load and drop them, since that is what brings
    their random state to where it was.
    """
    batches = iter(loader)
    skip = batches._next_index if loader.num_workers == 0 else batches.__next__
    for _ in range(done):
        skip()
    return batches


def seed_workers(loader: DataLoader, seed: int):
    """Have new workers, with a seed of their own, load the next epoch.

    Upstream seeds workers alike in each epoch; those that persist go on with their random state.
    """
    init = loader.worker_init_fn
    if isinstance(init, functools.partial) and 'seed' in init.keywords:
        loader.worker_init_fn = functools.partial(init.func, **{**init.keywords, 'seed': seed})
        loader._iterator = None


def repair_run_epoch(run_epoch: Callable) -> Callable:
    """Seed an epoch and its workers, and begin it where a checkpoint was saved."""

    @functools.wraps(run_epoch)
    def run_seeded(self: EpochBasedTrainLoop):
        seed_workers(self.dataloader, reseed(self.runner.seed, self._epoch))
        resumed = self.__dict__.pop('position', None)
        if resumed is None:
            return run_epoch(self)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = batches_from(self.dataloader, resumed['batches'])
        restore_random(resumed['random'])
        for index, batch in enumerate(batches, resumed['batches']):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

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
    """Give the loop the checkpoint's position, and the sampler, built before, its seed.

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
        if isinstance(self.train_loop, EpochBasedTrainLoop) and self._loaded_position:
            self.train_loop.position = self._loaded_position

    return resume_order


def repair_load(load: Callable) -> Callable:
    """Note the position that a checkpoint brings."""

    @functools.wraps(load)
    def load_position(self: Runner, *args, **kwargs) -> dict:
        checkpoint = load(self, *args, **kwargs)
        self._loaded_position = checkpoint.get('meta', {}).get('position')
        return checkpoint

    return load_position


def init_worker(*args, **kwargs):
    """Have a worker outlive the first SIGTERM, which a cluster sends to every process of a job.

    Otherwise the training cannot finish its iteration. Without the process that it loads for, a
    worker ends by itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    worker_init_fn(*args, **kwargs)


def apply():
    """Apply the repair once."""
    if hasattr(EpochBasedTrainLoop.run_epoch, '__wrapped__'):
        return
    EpochBasedTrainLoop.run_epoch = repair_run_epoch(EpochBasedTrainLoop.run_epoch)
    IterBasedTrainLoop.run = repair_run(IterBasedTrainLoop.run)
    _InfiniteDataloaderIterator.__next__ = repair_next(_InfiniteDataloaderIterator.__next__)
    Runner.resume = repair_resume(Runner.resume)
    Runner.load_checkpoint = repair_load(Runner.load_checkpoint)
    # The name by which a runner gives it to its data loaders.
    mmengine.runner.runner.default_worker_init_fn = init_worker
