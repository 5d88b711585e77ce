"""The cost of a network: weights, multiply-adds, latency."""

import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from mmengine.model import BaseModel

# Calls before the measurement, and measured calls.
WARM_UP = 10
CALLS = 100
PERCENTILES = (50, 90, 99)


def cost(network: BaseModel, image_shape: Sequence[int]) -> dict[str, int]:
    """Measure the size of a network, and its multiply-adds for one image.

    Args:
        network (BaseModel): A classifier in eval mode.
        image_shape (Sequence[int]): C, H, W.

    Returns:
        Dict[str, int]: ``parameters``; ``macs``, multiply-adds by MMEngine's
        ``get_model_complexity_info``, which counts a product and a sum as one, *not* two, and adds
        2 for each output value of a BatchNorm and 1 for each input value of global pooling; and
        ``bytes``, the size of the file in which ``torch.save`` writes its weights and buffers.
    """
    # It warns about each activation that it does not count.
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
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return dict(parameters=parameters, macs=int(found['flops']), bytes=file.getbuffer().nbytes)


@torch.inference_mode()
def latencies(
    networks: Mapping[str, Callable], images: torch.Tensor, calls: int = CALLS
) -> dict[str, dict[str, float]]:
    """Time networks on a batch, in turns, so that a busy machine slows all of them equally.

    Args:
        networks (Mapping[str, Callable]): Classifiers by name, in eval mode, on the images'
            device; or functions called like them.
        images (torch.Tensor): Prepared images, shape (N, C, H, W).
        calls (int): Measured calls of each network, after 10 unmeasured ones. Defaults to 100.

    Returns:
        Dict[str, Dict[str, float]]: Milliseconds for each image (a call's time divided by N), by
        network and percentile of the calls (``p50``, ``p90``, ``p99``).
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
    """Wait until the device has finished its work."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
