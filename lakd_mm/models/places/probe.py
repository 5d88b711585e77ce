"""Probe networks: noise to run them on, and runs that stop at the last record."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmrazor.models.task_modules import RecorderManager

from ...errors import ConfigError


def images_for(model: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Make two images of noise of shape (C, H, W), always the same, to try a network on."""
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return noise.to(next(model.parameters()))


def first_of(network: nn.Module) -> nn.Module:
    """Return the network itself, or the first one of an ensemble, of which the features are."""
    return network.first() if hasattr(network, 'logits_module') else network


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode inside; each of its modules gets its own mode back."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def runs_on(network: nn.Module, input_shape: Sequence[int]) -> Iterator[None]:
    """Raise a ConfigError if the network does not run on images of shape (C, H, W) inside."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f'{type(network).__name__} does not run on images of shape {tuple(input_shape)}: '
            f'{error}; set input_shape to what it takes'
        ) from error


def sources_of(recorders: RecorderManager) -> list[str]:
    """List the modules that recorders record."""
    return [recorder.source for recorder in recorders.recorders.values()]


def run_network(
    network: nn.Module, images: torch.Tensor, sources: Iterable[str], whole: bool = False
) -> Any:
    """Run a network on images only, to fill its recorders.

    If all recorded modules, ``sources``, are in its backbone and neck, nothing else runs, since a
    detector needs more than images to make and use proposals; ``whole`` runs all that can run. It
    returns the prediction or, if only this part ran, the output of the neck.

    Raises:
        ConfigError: If a record lies after the neck of a network with proposals.
    """
    behind = sorted(s for s in sources if s.partition('.')[0] not in ('backbone', 'neck'))
    has_proposals = hasattr(network, 'roi_head')
    if behind and has_proposals:
        raise ConfigError(
            f'{type(network).__name__}: {behind[0]!r} works on proposals; record only modules of '
            f'the backbone and neck of a two-stage detector'
        )
    if not behind and hasattr(network, 'extract_feat') and (has_proposals or not whole):
        return network.extract_feat(images)
    return network(images, mode='tensor')


def noise_samples(count: int, input_shape: Sequence[int]) -> list[DataSample]:
    """Make data samples for noise of shape (C, H, W), with a class and a box for the losses."""
    size = tuple(input_shape[1:])
    samples = []
    for i in range(count):
        meta = dict(sample_idx=i, img_shape=size, batch_input_shape=size)
        sample = DataSample(metainfo=meta).set_gt_label(0)
        box = torch.tensor([[0.0, 0.0, size[1] / 2, size[0] / 2]])
        sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([0]))
        samples.append(sample)
    return samples


def reads_memory_as_contiguous(*networks: nn.Module) -> bool:
    """Return whether a network has one of MMCV's compiled ops, such as RoIAlign.

    Without any message they read a tensor in channels-last memory format in the wrong order.
    """
    modules = (module for network in networks for module in network.modules())
    return any(type(module).__module__.startswith('mmcv.ops.') for module in modules)
