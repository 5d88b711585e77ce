"""Repairs of how MMEngine chooses a training loop, and of what its loops leave running."""

import functools
from collections.abc import Callable
from typing import Any, Union

from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner


def repair_build(build: Callable) -> Callable:
    """Let ``type`` stand beside the ``by_epoch`` that it agrees with.

    All releases refuse the two together, so no ``--cfg-options train_cfg.type=…`` can choose a loop
    for a config with ``by_epoch``, as nearly all have it.
    """

    @functools.wraps(build)
    def build_named(self: Runner, loop: Union[BaseLoop, dict]) -> BaseLoop:
        if isinstance(loop, dict) and 'type' in loop and 'by_epoch' in loop:
            kind = loop['type'] if isinstance(loop['type'], type) else LOOPS.get(loop['type'])
            if isinstance(kind, type) and issubclass(kind, EpochBasedTrainLoop) == loop['by_epoch']:
                loop = {key: value for key, value in loop.items() if key != 'by_epoch'}
        return build(self, loop)

    return build_named


def repair_run(run: Callable) -> Callable:
    """End the data workers of a training, validation or test with it.

    All releases leave those that persist, or that serve iterations, to the garbage collector, which
    waits ten seconds for them: a notebook or a search keeps their memory until then.
    """

    @functools.wraps(run)
    def run_and_end(self: Runner, *args, **kwargs) -> Any:
        try:
            return run(self, *args, **kwargs)
        finally:
            for loop in (self._train_loop, self._val_loop, self._test_loop):
                for holder in ('dataloader', 'dataloader_iterator'):
                    _end_workers(getattr(loop, holder, None))

    return run_and_end


def _end_workers(holder: Any) -> None:
    iterator = getattr(holder, '_iterator', None)
    if hasattr(iterator, '_shutdown_workers'):
        iterator._shutdown_workers()
        # A loader makes a new one when it is asked again.
        holder._iterator = None


def apply():
    """Apply the repairs once."""
    if not hasattr(Runner.build_train_loop, '__wrapped__'):
        Runner.build_train_loop = repair_build(Runner.build_train_loop)
    for name in ('train', 'val', 'test'):
        run = getattr(Runner, name)
        if not hasattr(run, '__wrapped__'):
            setattr(Runner, name, repair_run(run))
