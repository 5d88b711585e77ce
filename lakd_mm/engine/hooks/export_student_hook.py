"""A hook that leaves the student alone behind."""

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...errors import ConfigError
from ..export import export_student
from ..plain_config import plain_config


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Writes the student of a distillation as a plain classifier when training ends.

    It is the student of the best checkpoint, or of the last where none is called best; see
    :func:`lakd_mm.engine.export_student`.

    Args:
        filename (str): Name of the checkpoint beside the others; its config gets the same name
            with ``.py``. Both are replaced. Defaults to 'student.pth'.
    """

    # Behind the hook that saves checkpoints.
    priority = 'LOWEST'

    def __init__(self, filename: str = 'student.pth'):
        self.filename = filename

    def before_train(self, runner: Runner) -> None:
        """Makes sure that there is a student, before a long training."""
        plain_config(runner.cfg)
        config = osp.splitext(self.filename)[0] + '.py'
        if config == osp.basename(runner.cfg.filename or ''):
            raise ConfigError(
                f"ExportStudentHook: filename={self.filename!r} would replace this training's own "
                f'config {config} in the work folder; name it otherwise'
            )

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Writes it."""
        folder = next(
            (hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook)),
            runner.work_dir,
        )
        made = export_student(folder, osp.join(folder, self.filename), runner.cfg, force=True)
        runner.logger.info(
            f'The student of {made.source} is now alone in {made.files[0]}, for {made.files[1]}.'
        )
