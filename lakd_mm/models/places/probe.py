"""Probe networks: noise to run them on, and runs that stop at what is recorded."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn as nn
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmrazor.models.task_modules import RecorderManager

from ...errors import ConfigError


def images_for(model: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Two images of noise of shape (C, H, W), always the same, to try a network on."""
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return noise.to(next(model.parameters()))


def sources_of(recorders: RecorderManager) -> list[str]:
    """What recorders record."""
    return [recorder.source for recorder in recorders.recorders.values()]


def run_network(
    network: nn.Module, images: torch.Tensor, sources: Iterable[str], whole: bool = False
) -> Any:
    """Run a network on images alone, for what is recorded of it.

    Where that lies in its backbone and neck, nothing else runs: a detector's proposals and what it
    makes of them ask for more than images.

    Args:
        network (nn.Module): A classifier, detector or segmenter.
        images (torch.Tensor): Shape (N, C, H, W).
        sources (Iterable[str]): Names of the modules that are recorded.
        whole (bool): Whether all of the network is to run if it can. Defaults to False.

    Returns:
        Any: What it predicts or, if no more ran, what its neck gives.

    Raises:
        ConfigError: If a record lies behind the neck of a network with proposals.
    """
    behind = sorted(s for s in sources if s.partition('.')[0] not in ('backbone', 'neck'))
    has_proposals = hasattr(network, 'roi_head')
    if behind and has_proposals:
        raise ConfigError(
            f'{type(network).__name__}: {behind[0]!r} works on proposals; of a two-stage detector '
            f'record only modules of its backbone and neck'
        )
    if not behind and hasattr(network, 'extract_feat') and (has_proposals or not whole):
        return network.extract_feat(images)
    return network(images, mode='tensor')


def noise_samples(count: int, input_shape: Sequence[int]) -> list[DataSample]:
    """Data samples for images of noise: a class and a box in each.

    Args:
        count (int): How many.
        input_shape (Sequence[int]): Shape (C, H, W) of an image.

    Returns:
        List[DataSample]: With whatever a loss of this package asks for.
    """
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
    """Whether a network has one of MMCV's compiled ops, such as RoIAlign.

    Given a tensor in channels-last memory format they read its values in the wrong order, and say
    nothing.
    """
    modules = (module for network in networks for module in network.modules())
    return any(type(module).__module__.startswith('mmcv.ops.') for module in modules)
