"""A hook that saves a training that is asked to stop."""

import os
import os.path as osp
import signal
import sys
import threading
import time
from typing import Optional

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmrazor.registry import HOOKS

from ...compat.mmengine_accumulation import gather_gradients
from ...compat.mmengine_random import position
from ...compat.mmengine_whole import INTERRUPTED, fault
from .keep_previous_hook import checkpoint_folder

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@HOOKS.register_module()
class StopHook(Hook):
    """Finishes the iteration on SIGTERM, SIGINT or SIGUSR1, saves, and exits with 128 + signal.

    The checkpoint is ``interrupted.pth``, and ``last_checkpoint`` names it; a resumed run goes on
    behind the iteration, to the bit, and deletes the file once it has saved a later checkpoint. A
    validation runs to its end. A second signal ends the process at once. Signals that were ignored
    when the process started stay so.

    Args:
        interval (int): With several processes, iterations between two agreements on whether one of
            them was asked. Defaults to 10.
    """

    # Behind everything that changes the state or saves it.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10):
        self.interval = interval
        self._asked = 0
        self._when = 0.0
        self._before: dict = {}
        self._outdated: Optional[str] = None

    def before_train(self, runner: Runner):
        """Listen to the signals."""
        self._asked = 0
        self._pid = os.getpid()
        path = osp.join(checkpoint_folder(runner), INTERRUPTED)
        self._outdated = path if osp.exists(path) else None
        # Python gives signals to the main thread only.
        main = threading.current_thread() is threading.main_thread()
        for number in SIGNALS if main else ():
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ask)

    def after_train(self, runner: Runner):
        """Give the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _ask(self, number: int, frame):
        if os.getpid() != self._pid:
            return  # a worker: the training decides
        name = signal.Signals(number).name
        # Launchers pass on what the terminal has already sent to every process.
        if self._asked and time.monotonic() - self._when > 1:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self._asked:
            self._asked, self._when = number, time.monotonic()
            if is_main_process():
                text = f'{name}: saving behind this iteration; a second one ends at once.\n'
                os.write(sys.stderr.fileno(), text.encode())

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Optional[dict] = None
    ):
        """Stop if asked."""
        self._forget(runner)
        last = batch_idx + 1 == len(runner.train_dataloader)
        if get_world_size() > 1 and not last and (runner.iter + 1) % self.interval:
            return
        if self._agreed():
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            where = dict(position=position(batch_idx + 1)) if by_epoch else {}
            self._stop(runner, dict(epoch=runner.epoch, iter=runner.iter + 1, **where))

    def after_train_epoch(self, runner: Runner):
        """Delete ``interrupted.pth`` if a later checkpoint is there."""
        self._forget(runner)

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None):
        """Stop if asked, unless nothing is left to do."""
        loop = runner._train_loop
        if not self._before or loop.iter >= loop.max_iters:
            return
        if self._agreed():
            self._stop(runner, dict(epoch=loop.epoch, iter=loop.iter))

    def _agreed(self) -> int:
        """Return the signal that any process has got, or 0."""
        if get_world_size() == 1:
            return self._asked
        asked = torch.tensor(self._asked, device=get_device())
        all_reduce(asked, 'max')
        self._asked = int(asked)
        return self._asked

    def _stop(self, runner: Runner, meta: dict):
        folder = checkpoint_folder(runner)
        gather_gradients(runner)
        runner.save_checkpoint(folder, INTERRUPTED, meta=meta)
        path = osp.join(folder, INTERRUPTED)
        if get_rank() == 0:
            write_whole(osp.join(runner.work_dir, 'last_checkpoint'), path)
            name = signal.Signals(self._asked).name
            runner.logger.info(
                f'Stopped by {name} behind iteration {meta["iter"]}, saved as {path}. '
                f'Go on with --resume.'
            )
        # A launcher ends the others as soon as one has ended.
        barrier()
        raise SystemExit(128 + self._asked)

    def _forget(self, runner: Runner):
        """Delete an earlier ``interrupted.pth`` when ``last_checkpoint`` names another file."""
        if self._outdated is None or get_rank() != 0:
            return
        last = osp.join(runner.work_dir, 'last_checkpoint')
        if osp.exists(last):
            with open(last, encoding='utf-8') as file:
                named = file.read().strip()
            if named != self._outdated and osp.isfile(named) and fault(named) is None:
                if osp.exists(self._outdated):
                    os.remove(self._outdated)
                self._outdated = None


def write_whole(path: str, text: str):
    """Replace a small file at once."""
    with open(f'{path}.partial', 'w', encoding='utf-8') as file:
        file.write(text)
    os.replace(f'{path}.partial', path)
