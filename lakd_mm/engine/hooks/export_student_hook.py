"""A hook that exports the student after training."""

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...errors import ConfigError
from ..export import export_student
from ..plain_config import plain_config
from .keep_previous_hook import checkpoint_folder


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Write the student of a distillation as a plain classifier when training ends.

    The student comes from the best checkpoint, or from the last one if there is no best one. See
    :func:`lakd_mm.engine.export_student`.

    Args:
        filename (str): Name of the checkpoint in the folder of the others; its config gets the same
            name with ``.py``. Existing files are replaced. Defaults to 'student.pth'.
    """

    # After the hook that saves checkpoints.
    priority = 'LOWEST'

    def __init__(self, filename: str = 'student.pth'):
        self.filename = filename

    def before_train(self, runner: Runner) -> None:
        """Check before a long training that there is a student."""
        plain_config(runner.cfg)
        config = osp.splitext(self.filename)[0] + '.py'
        if config == osp.basename(runner.cfg.filename or ''):
            raise ConfigError(
                f"ExportStudentHook: filename={self.filename!r} would replace this training's own "
                f'config {config} in the work folder; choose another name'
            )

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the student."""
        folder = checkpoint_folder(runner)
        made = export_student(folder, osp.join(folder, self.filename), runner.cfg, force=True)
        runner.logger.info(
            f'The student of {made.source} is in {made.files[0]}, its config in {made.files[1]}.'
        )
