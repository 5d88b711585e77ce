"""A hook that protects the checkpoints of an earlier training from a new one."""

import os
import os.path as osp
import shutil
from glob import escape, glob

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS


@HOOKS.register_module()
class KeepPreviousHook(Hook):
    """Move checkpoints that a training could overwrite to ``previous_<time>/``.

    If a training starts anew or resumes from elsewhere, these are all checkpoints in the work
    folder. If it resumes from a checkpoint in that folder, these are the later ones.
    """

    # After all other hooks, so that nothing moves if one of them refuses the run.
    priority = 'LOWEST'

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Move the checkpoints."""
        folder = checkpoint_folder(runner)
        checkpoints = glob(osp.join(escape(folder), '*.pth'))
        last = osp.join(runner.work_dir, 'last_checkpoint')
        resumed = runner.cfg.get('load_from') if runner.iter > 0 else None
        if runner.iter > 0:
            checkpoints = [] if resumed is None else later_than(resumed, checkpoints, last)
        if not checkpoints:
            return
        target = osp.join(folder, f'previous_{runner.timestamp}')
        os.makedirs(target)
        for path in checkpoints:
            shutil.move(path, target)
        if osp.exists(last):
            shutil.move(last, target)
            if resumed is not None:
                # A later --resume must find a checkpoint, even before the next one is saved.
                with open(last, 'w', encoding='utf-8') as file:
                    file.write(resumed)
        runner.logger.info(
            f'Checkpoints of an earlier training were in {folder}; they are now in {target}: '
            + ', '.join(sorted(map(osp.basename, checkpoints)))
        )


def checkpoint_folder(runner: Runner) -> str:
    """Return where a run saves checkpoints."""
    hooks = (hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook))
    return next(hooks, None) or runner.work_dir


def later_than(resumed: str, checkpoints: list, last: str) -> list:
    """Return the checkpoints that a training resumed from ``resumed`` could overwrite.

    These are all if ``resumed`` is not among them. The file ``last`` names the latest.
    """
    if not any(osp.exists(resumed) and osp.samefile(path, resumed) for path in checkpoints):
        return checkpoints
    if osp.exists(last):
        with open(last, encoding='utf-8') as file:
            if osp.basename(file.read().strip()) == osp.basename(resumed):
                return []
    return [path for path in checkpoints if osp.getmtime(path) > osp.getmtime(resumed)]
