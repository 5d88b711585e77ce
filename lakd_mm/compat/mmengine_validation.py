"""Repair of MMEngine's resuming, which forgets a validation and how long nothing has improved.

A checkpoint is saved before the validation of its epoch, or iteration. All releases resume behind
that validation, whether it was done or not: a run that is killed in it has no such metrics, and may
miss its best checkpoint. ``EarlyStoppingHook`` saves nothing at all, and so waits anew.
"""

import functools
from collections.abc import Callable

from mmengine.hooks import EarlyStoppingHook, RuntimeInfoHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

# Keys of the message hub, which a checkpoint holds.
VALIDATED, EARLY_STOPPING = 'validated', 'early_stopping'


def progress(runner: Runner) -> tuple[int, int]:
    """Return the epochs that are done and all there are; iterations, if there are no epochs."""
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        return loop.epoch, loop.max_epochs
    return loop.iter, loop.max_iters


def validate_if_due(runner: Runner):
    """Run the validation that an unbroken run would have run where this one is resumed."""
    loop = runner.train_loop
    if not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)) or runner.val_loop is None:
        return
    done, length = progress(runner)
    known = runner.message_hub.runtime_info.get(VALIDATED)
    # In the middle of an epoch, the last one's validation is done.
    if done == 0 or known == done or 'position' in loop.__dict__:
        return
    loop._decide_current_val_interval()
    if done < loop.val_begin or (done % loop.val_interval and done != length):
        return
    # A checkpoint that the validation saves says which iteration and epoch were the last ones.
    next_ones = dict(iter=loop.iter)
    if isinstance(loop, EpochBasedTrainLoop):
        next_ones['epoch'] = loop.epoch
    for key, value in next_ones.items():
        runner.message_hub.update_info(key, value - 1)
    runner.val_loop.run()
    for key, value in next_ones.items():
        runner.message_hub.update_info(key, value)


def repair_call_hook(call_hook: Callable) -> Callable:
    """Have a resumed run validate when all hooks are ready to train."""

    @functools.wraps(call_hook)
    def call_and_validate(self: Runner, fn_name: str, **kwargs):
        call_hook(self, fn_name, **kwargs)
        if fn_name == 'before_train' and self._resume:
            validate_if_due(self)

    return call_and_validate


def repair_after_val_epoch(after_val_epoch: Callable) -> Callable:
    """Note that a validation is done, before any checkpoint is saved that has its metrics."""

    @functools.wraps(after_val_epoch)
    def note(self: RuntimeInfoHook, runner: Runner, *args, **kwargs):
        after_val_epoch(self, runner, *args, **kwargs)
        if isinstance(runner._train_loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
            runner.message_hub.update_info(VALIDATED, progress(runner)[0])

    return note


def repair_early_stopping(after_val_epoch: Callable) -> Callable:
    """Save what an ``EarlyStoppingHook`` knows."""

    @functools.wraps(after_val_epoch)
    def save(self: EarlyStoppingHook, runner: Runner, *args, **kwargs):
        after_val_epoch(self, runner, *args, **kwargs)
        stopped = runner.train_loop.stop_training
        state = (self.wait_count, self.best_score, stopped, self.patience)
        runner.message_hub.update_info(f'{EARLY_STOPPING}_{self.monitor}', state)

    return save


def restore(self: EarlyStoppingHook, runner: Runner):
    """Go on as an ``EarlyStoppingHook`` whose training was not broken.

    What has stopped goes on if its patience is larger now.
    """
    state = runner.message_hub.runtime_info.get(f'{EARLY_STOPPING}_{self.monitor}')
    if runner._resume and state is not None:
        self.wait_count, self.best_score, stopped, patience = state
        runner.train_loop.stop_training = stopped and self.patience <= patience


def apply():
    """Apply the repair once."""
    if hasattr(Runner.call_hook, '__wrapped__'):
        return
    Runner.call_hook = repair_call_hook(Runner.call_hook)
    RuntimeInfoHook.after_val_epoch = repair_after_val_epoch(RuntimeInfoHook.after_val_epoch)
    EarlyStoppingHook.after_val_epoch = repair_early_stopping(EarlyStoppingHook.after_val_epoch)
    EarlyStoppingHook.before_train = restore
    # Before the checkpoint that says that the validation is done.
    EarlyStoppingHook.priority = 'LOW'
