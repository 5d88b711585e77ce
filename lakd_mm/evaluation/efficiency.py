"""What a network costs where it is used: weights, multiply-adds, latency."""

import io
import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from mmengine.model import BaseModel

# Calls before, and those measured.
WARM_UP = 10
CALLS = 100
PERCENTILES = (50, 90, 99)


def cost(network: BaseModel, image_shape: Sequence[int]) -> dict[str, int]:
    """Size of a network, and its work for an image.

    Args:
        network (BaseModel): A classifier in eval mode.
        image_shape (Sequence[int]): C, H, W.

    Returns:
        Dict[str, int]: ``parameters``; ``macs``, multiply-adds by MMEngine's
        ``get_model_complexity_info``, one each (a product and a sum, *not* two), to which it adds 2
        for each value that a BatchNorm gives and 1 for each that global pooling gets; ``bytes`` of
        its weights and buffers as a file, by ``torch.save``.
    """
    # It warns of each activation that it does not count.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found = get_model_complexity_info(
            network, input_shape=tuple(image_shape), show_table=False, show_arch=False
        )
    finally:
        logger.setLevel(level)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return dict(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=int(found['flops']),
        bytes=file.getbuffer().nbytes,
    )


@torch.inference_mode()
def latencies(
    networks: Mapping[str, BaseModel], images: torch.Tensor, calls: int = CALLS
) -> dict[str, dict[str, float]]:
    """Time networks on a batch, in turns, so that a busy machine hits all of them alike.

    Args:
        networks (Mapping[str, BaseModel]): Classifiers by name, in eval mode, on the images'
            device.
        images (torch.Tensor): Prepared, shape (N, C, H, W).
        calls (int): Of each network, after 10 that are not measured. Defaults to 100.

    Returns:
        Dict[str, Dict[str, float]]: By network and percentile (``p50``, ``p90``, ``p99``) of the
        calls, milliseconds an image: a call's time divided by N.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(WARM_UP + calls):
        for name, network in networks.items():
            _wait(images)
            start = time.perf_counter()
            network(images, mode='tensor')
            _wait(images)
            if turn >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - start) / len(images))
    return {
        name: {f'p{p}': float(np.percentile(of_network, p)) for p in PERCENTILES}
        for name, of_network in times.items()
    }


def _wait(images: torch.Tensor):
    """Until the device has done what it was given."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
