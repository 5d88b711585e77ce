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
    """Checks that each data set has as many classes as each head, student's and teacher's.

    Too few outputs would fail with an index error in the loss, on a GPU without saying where; too
    many would train without a word. Modules with a ``check_data``, such as losses that remember
    images, are shown the training set too.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Checks the data sets that are about to be used.

        Raises:
            ConfigError: If the numbers of classes differ, or a module refuses the training set.
        """
        for split in ('train', 'val', 'test'):
            # A loop that this run does not use is still a config here.
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
                    f'{len(classes)}, or name other data.'
                )


def heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the heads of a network or of an algorithm's student and teacher, with its names."""
    model = model.module if is_model_wrapper(model) else model
    for name in ('model', 'model.architecture', 'model.teacher'):
        part = model if name == 'model' else getattr(model, name.rpartition('.')[2], None)
        for holder in (part, getattr(part, 'roi_head', None)):
            for head_name in ('head', 'bbox_head', 'decode_head'):
                head = getattr(holder, head_name, None)
                if hasattr(head, 'num_classes'):
                    yield name, head
