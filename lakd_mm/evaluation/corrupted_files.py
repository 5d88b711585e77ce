"""Corrupted images from the files of CIFAR-10-C and CIFAR-100-C."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch

from ..errors import ConfigError, near_names
from .corruptions import SEVERITIES
from .sample_images import draw_indices

_LABELS = 'labels'


class CorruptedFiles:
    """A folder of ``<corruption>.npy`` and ``labels.npy``, as published for CIFAR-10-C.

    Each file holds the test set five times, for severities 1 to 5: uint8 of shape (5n, H, W, 3),
    RGB, where n is 10,000. Source of the format: `Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations <https://arxiv.org/abs/1903.12261>`_ and its data sets
    (doi 10.5281/zenodo.2535967).

    Args:
        folder (str | Path): The folder.
        names (Sequence[str], optional): The corruptions. Defaults to all in the folder.

    Raises:
        ConfigError: If a file is missing or has another format.
    """

    def __init__(self, folder: Union[str, Path], names: Optional[Sequence[str]] = None):
        folder = Path(folder)
        known = sorted(path.stem for path in folder.glob('*.npy') if path.stem != _LABELS)
        if not known or not (folder / f'{_LABELS}.npy').is_file():
            raise ConfigError(
                f'{folder}: CIFAR-10-C and CIFAR-100-C are folders of <corruption>.npy and '
                f'{_LABELS}.npy'
            )
        self.names = list(names or known)
        for name in self.names:
            if name not in known:
                raise ConfigError(f'{folder}: there is no {name}.npy; {near_names(name, known)}')
        self.labels = torch.from_numpy(_load(folder / f'{_LABELS}.npy').astype(np.int64))
        self.images = {name: _load(folder / f'{name}.npy') for name in self.names}
        for name, images in self.images.items():
            fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3
            if not fits or len(images) % len(SEVERITIES) or self.labels.shape != images.shape[:1]:
                raise ConfigError(
                    f'{folder / name}.npy: it holds {images.dtype} of shape {images.shape} for '
                    f'{len(self.labels)} labels; it must hold a test set five times, uint8, shape '
                    f'(5n, H, W, 3), with 5n labels'
                )

    def batches(
        self, name: str, severity: int, count: int, batch_size: int = 250, seed: int = 0
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Read images of one corruption and severity; every corruption gives the same images.

        They are drawn as in :func:`sample_images`, so they are those of the clean test set if that
        is in the published order.

        Args:
            name (str): The corruption.
            severity (int): 1 to 5.
            count (int): Number of images; all of them, if there are fewer.
            batch_size (int): Images in a batch. Defaults to 250.
            seed (int): Seed of the drawing. Defaults to 0.

        Yields:
            tuple: Images, uint8 of shape (N, 3, H, W), RGB; and their classes, shape (N,).
        """
        images = self.images[name]
        size = len(images) // len(SEVERITIES)
        chosen = draw_indices(size, count, seed) + (severity - 1) * size
        for index in chosen.split(batch_size):
            batch = torch.from_numpy(np.asarray(images[index.numpy()]))
            yield batch.permute(0, 3, 1, 2), self.labels[index]


def _load(path: Path) -> np.ndarray:
    try:
        # A file is 150 MB, so it is read only when needed.
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path} is not an array that NumPy can read: {error}') from None
