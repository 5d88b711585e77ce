"""Sizes of images and batches for a folder of images, networks and a machine."""

import os
from pathlib import Path
from typing import Optional

import torch

# Images up to this side are held in memory, and cropped behind a border.
SMALL = 96
LARGE = 224
MOST_IN_BATCH = 128
# Steps of an epoch that a batch has to leave.
LEAST_STEPS = 30


def choose_size(side: int, of_networks: list[Optional[int]]) -> int:
    """Choose the side of the images that networks get: near their own, in steps of 32.

    Args:
        side (int): The median of the images' shorter sides.
        of_networks (List[int | None]): The only size that a network is made for.
    """
    made_for = max(filter(None, of_networks), default=None)
    return made_for or min(LARGE, max(32, 32 * round(side / 32)))


def in_memory(side: int, size: int, n: int, memory: int) -> bool:
    """Tell whether images are small, and few enough for a quarter of the memory."""
    return side <= SMALL and n * 3 * size * size <= memory / 4


def choose_batch(n_train: int, of_image: int, fixed: int, memory: int) -> int:
    """Choose a batch size, a power of 2, that takes half of the memory at most.

    Args:
        n_train (int): Images to train on.
        of_image (int): Bytes that an image takes until its backward.
        fixed (int): Bytes of weights, gradients and momentum.
        memory (int): Bytes that are free.
    """
    most = min(MOST_IN_BATCH, n_train // LEAST_STEPS, (memory // 2 - fixed) // max(of_image, 1))
    return max(8, 1 << max(most, 1).bit_length() - 1)


def free_memory() -> int:
    """Return the free bytes of the GPU, or where there is none of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    found = [4 << 30]
    try:
        lines = Path('/proc/meminfo').read_text(encoding='utf-8').splitlines()
        found = [int(line.split()[1]) << 10 for line in lines if 'MemAvailable' in line] or found
        limit = Path('/sys/fs/cgroup/memory.max').read_text(encoding='utf-8').strip()
        used = Path('/sys/fs/cgroup/memory.current').read_text(encoding='utf-8')
        if limit.isdigit():
            found.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    return max(min(found), 0)


def workers() -> int:
    """Return how many processes load images."""
    return min(4, len(os.sched_getaffinity(0)))
