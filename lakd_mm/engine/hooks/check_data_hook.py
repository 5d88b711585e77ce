"""A hook that compares the data with the networks before anything runs."""

from collections.abc import Iterator
from typing import Any, Optional

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmrazor.models.task_modules import ModuleInputsRecorder
from mmrazor.registry import HOOKS
from torch import nn

from ...errors import ConfigError
from ...models.distillers import LocalDistiller


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check that each data set has images for a batch, and as many classes as the student's head.

    With too few outputs the loss fails with an index error, which does not say where on a GPU; with
    too many, training runs without a warning. The teacher's head only has to fit where labels
    choose among its classes (``reads_classes`` of a connector or loss) or MMRazor's own distiller
    records it; features teach whatever the teacher's classes are. Modules with a ``check_data``,
    such as losses that remember images, also check the training set.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Check the data sets of this run.

        Raises:
            ConfigError: If the numbers of classes differ, there is no whole batch, or a module
                refuses the training set.
        """
        for split in ('train', 'val', 'test'):
            # A loop that this run does not use is still a config.
            loop = getattr(runner, f'_{split}_loop')
            if isinstance(loop, BaseLoop):
                self._check(f'{split}_dataloader.dataset', loop.dataloader.dataset, runner.model)
                _check_length(f'{split}_dataloader', loop.dataloader)

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


def _check_length(key: str, loader: Any) -> None:
    """Raise if a data loader has no batch."""
    try:
        batches, images = len(loader), len(loader.dataset)
    except TypeError:
        return
    if batches or (images and isinstance(loader.sampler, InfiniteSampler)):
        return
    size = getattr(loader, 'batch_size', None)
    advice = 'name other data'
    if images:
        advice = f'with drop_last=True no batch of {size} is whole; set a smaller batch_size'
    share = ''
    if get_world_size() > 1 and hasattr(loader.sampler, '__len__'):
        share = f', {len(loader.sampler)} for each of {get_world_size()} processes'
    raise ConfigError(f'{key} has no batch: its data set has {images} images{share}; {advice}')


def heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield, by name, the heads whose classes have to be those of the data."""
    model = model.module if is_model_wrapper(model) else model
    members = getattr(model, 'members', None)
    parts = {'model': model}
    for name, algorithm in {'model': model, **_named(members)}.items():
        parts[f'{name}.architecture'] = getattr(algorithm, 'architecture', None)
        if _reads_teachers_classes(algorithm):
            teacher = getattr(algorithm, 'teacher', None) or getattr(model, 'teacher', None)
            parts['model.teacher'] = teacher
    for name, part in parts.items():
        # A student that is cut into modules has the network inside.
        part = getattr(part, 'architecture', part) if name.endswith('architecture') else part
        for holder in (part, getattr(part, 'roi_head', None)):
            for head_name in ('head', 'bbox_head', 'decode_head'):
                head = getattr(holder, head_name, None)
                if hasattr(head, 'num_classes'):
                    yield name, head


def _named(members: Optional[nn.ModuleDict]) -> dict[str, nn.Module]:
    found = members.items() if members is not None else ()
    return {f'model.members.{name}': member for name, member in found}


def _reads_teachers_classes(algorithm: nn.Module) -> bool:
    """Tell whether something takes a class of the data for one of the teacher's."""
    distiller = getattr(algorithm, 'distiller', None)
    if not isinstance(distiller, nn.Module):
        return False
    if any(getattr(module, 'reads_classes', False) for module in distiller.modules()):
        return True
    # Ours has compared its records once, when it was built.
    if isinstance(distiller, LocalDistiller):
        return False
    recorders = distiller.teacher_recorders.recorders.values()
    # What goes into a layer of the head is a feature.
    outputs = [r.source for r in recorders if not isinstance(r, ModuleInputsRecorder)]
    return any(source.partition('.')[0].endswith('head') for source in outputs)
