"""Accuracy and calibration of several networks on the same corrupted images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, Optional

import torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

from ..errors import ConfigError
from .calibration import expected_calibration_error
from .corrupted_files import CorruptedFiles
from .corruptions import corrupt_batch
from .sample_images import inputs_of

# A corruption and its severity.
Key = tuple[str, int]
CLEAN: Key = ('clean', 0)
# By corruption: the errors in percent, one for each severity.
Errors = Mapping[str, Sequence[float]]


class Score(NamedTuple):
    """Accuracy and expected calibration error of a network on a set of images, in percent."""

    top1: float
    ece: float


def corrupted_batches(
    loader: DataLoader,
    to_rgb: bool,
    names: Sequence[str],
    severities: Sequence[int],
    seed: int = 0,
    files: Optional[CorruptedFiles] = None,
) -> Iterator[tuple[Key, torch.Tensor, torch.Tensor]]:
    """Corrupt test images batch by batch, once for all networks.

    Args:
        loader (DataLoader): Loads test images that are not normalised.
        to_rgb (bool): Whether the data preprocessor turns them into RGB; then they are BGR.
        names (Sequence[str]): Corruptions.
        severities (Sequence[int]): Severities, each 1 to 5.
        seed (int): Seed of the random numbers. Defaults to 0.
        files (CorruptedFiles, optional): Files to read corrupted images from, as many as ``loader``
            has, instead of making them.

    Yields:
        tuple: Corruption and severity (:data:`CLEAN` first); a batch of images, uint8 of shape
        (N, C, H, W), in the loader's order of channels; and their classes, shape (N,).

    Raises:
        ConfigError: If the images are not batches of uint8.
    """

    def swapped(images: torch.Tensor) -> torch.Tensor:
        return images.flip(1) if to_rgb and images.size(1) == 3 else images

    for batch in loader:
        images = batch['inputs']
        if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
            raise ConfigError(
                'test_dataloader: the images must be uint8 of one size. Resize and crop them in '
                'the pipeline, and leave normalising to the data preprocessor'
            )
        labels = torch.stack([sample.gt_label.flatten()[0] for sample in batch['data_samples']])
        yield CLEAN, images, labels
        if files is not None:
            continue
        for name in names:
            for severity in severities:
                corrupted = corrupt_batch(swapped(images), name, severity, seed)
                yield (name, severity), swapped(corrupted), labels
    if files is not None:
        count, size = len(loader.dataset), loader.batch_size
        for name in names:
            for severity in severities:
                for images, labels in files.batches(name, severity, count, size, seed):
                    yield (name, severity), swapped(images), labels


@torch.inference_mode()
def scores(
    networks: Mapping[str, BaseModel],
    batches: Iterable[tuple[Key, torch.Tensor, torch.Tensor]],
    preprocessor: torch.nn.Module,
) -> dict[str, dict[Key, Score]]:
    """Score networks on the same sets of images.

    Args:
        networks (Mapping[str, BaseModel]): Classifiers by name, in eval mode.
        batches (Iterable[tuple]): Batches from :func:`corrupted_batches`.
        preprocessor (nn.Module): Prepares the images, for all networks.

    Returns:
        Dict[str, Dict[tuple, Score]]: By network, then by corruption and severity.

    Raises:
        ConfigError: If torchmetrics is not installed, or the images have other classes.
    """
    found: dict[str, dict[Key, list]] = {name: {} for name in networks}
    for key, images, labels in batches:
        inputs = inputs_of(dict(inputs=images), preprocessor)
        # This is a third faster on a CPU.
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        labels = labels.to(inputs.device)
        for name, network in networks.items():
            probabilities = network(inputs, mode='tensor').double().softmax(dim=1)
            if labels.max() >= probabilities.size(1):
                raise ConfigError(
                    f'{name} has {probabilities.size(1)} classes, but there is an image of class '
                    f'{labels.max().item()}; use images and configs of the same data'
                )
            confidences, classes = probabilities.max(dim=1)
            found[name].setdefault(key, []).append(torch.stack([confidences, classes == labels]))
    return {
        name: {key: _score(*torch.cat(parts, dim=1).cpu()) for key, parts in sets.items()}
        for name, sets in found.items()
    }


def errors_of(sets: Mapping[Key, Score]) -> dict[str, list[float]]:
    """Collect the errors in percent by corruption, one for each severity."""
    found: dict[str, list[float]] = {}
    for (name, severity), score in sorted(sets.items(), key=lambda item: item[0][1]):
        if severity:
            found.setdefault(name, []).append(100 - score.top1)
    return {name: found[name] for name, _ in sets if name in found}


def mean_corruption_error(errors: Errors) -> float:
    """Compute ``mean over c of mean over s of E_{s,c}``, in percent ("unnormalised mCE").

    Args:
        errors (Mapping[str, Sequence[float]]): By corruption, the errors E_{s,c} in percent, one
            for each severity.
    """
    return fmean(fmean(of_severities) for of_severities in errors.values())


def corruption_error_against(errors: Errors, reference: Errors) -> float:
    """Compute the mean corruption error (mCE) relative to a reference network, in percent.

    `Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
    <https://arxiv.org/abs/1903.12261>`_, section 4.1, whose reference is AlexNet. (Its
    *relative* mCE is another quantity, which uses the errors minus the error on clean images.)

    Args:
        errors (Mapping[str, Sequence[float]]): By corruption, the errors E_{s,c} in percent, one
            for each severity.
        reference (Mapping[str, Sequence[float]]): The reference's errors, on the same images.

    Returns:
        float: ``100 * mean over c of (sum over s of E_{s,c} / sum over s of E_{s,c}^reference)``;
        not a number if the reference makes no mistake in a corruption.
    """
    ratios = [
        sum(of_severities) / sum(reference[name]) if any(reference[name]) else float('nan')
        for name, of_severities in errors.items()
    ]
    return 100 * fmean(ratios)


def _score(confidences: torch.Tensor, correct: torch.Tensor) -> Score:
    ece = expected_calibration_error(confidences, correct)
    return Score(100 * correct.mean().item(), 100 * ece)
