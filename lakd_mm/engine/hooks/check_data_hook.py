"""A hook that compares the data with the networks before anything runs."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmrazor.registry import HOOKS
from torch import nn

from ..config_checks import ConfigError


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check that each data set has as many classes as the heads of student and teacher.

    With too few outputs the loss fails with an index error, which does not say where on a GPU; with
    too many, training runs without a warning. Modules with a ``check_data``, such as losses that
    remember images, also check the training set.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Check the data sets of this run.

        Raises:
            ConfigError: If the numbers of classes differ, or a module refuses the training set.
        """
        for split in ('train', 'val', 'test'):
            # A loop that this run does not use is still a config.
            loop = getattr(runner, f'_{split}_loop')
            if isinstance(loop, BaseLoop):
                self._check(f'{split}_dataloader.dataset', loop.dataloader.dataset, runner.model)

        if isinstance(runner._train_loop, BaseLoop):
            for module in runner.model.modules():
                if hasattr(module, 'check_data'):
                    module.check_data(runner._train_loop.dataloader.dataset)

    def _check(self, key: str, dataset, model: nn.Module) -> None:
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        if classes is None:
            return
        for part, head in heads(model):
            if head.num_classes != len(classes):
                root = getattr(dataset, 'data_root', '')
                source = f' (from {root})' if root else ''
                raise ConfigError(
                    f'{key} has {len(classes)} classes{source}, but the head of {part} has '
                    f'num_classes={head.num_classes}. Set num_classes of that head to '
                    f'{len(classes)}, or use other data.'
                )


def heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the heads of a network, or of an algorithm's student and teacher, by name."""
    model = model.module if is_model_wrapper(model) else model
    for name in ('model', 'model.architecture', 'model.teacher'):
        part = model if name == 'model' else getattr(model, name.rpartition('.')[2], None)
        for holder in (part, getattr(part, 'roi_head', None)):
            for head_name in ('head', 'bbox_head', 'decode_head'):
                head = getattr(holder, head_name, None)
                if hasattr(head, 'num_classes'):
                    yield name, head
