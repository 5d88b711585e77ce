"""Repair of how MMEngine's runner chooses its training loop."""

import functools
from collections.abc import Callable
from typing import Union

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


def apply():
    """Apply the repair once."""
    if not hasattr(Runner.build_train_loop, '__wrapped__'):
        Runner.build_train_loop = repair_build(Runner.build_train_loop)
