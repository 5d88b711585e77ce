"""Calibration: whether a classifier is as often right as its confidence says."""

from collections.abc import Sequence
from typing import Any, Optional

import torch
from mmengine.evaluator import BaseMetric
from mmrazor.registry import METRICS

from ..errors import ConfigError, check_installed


def check_torchmetrics():
    """Raise a ConfigError if torchmetrics is not installed."""
    modules = {'torchmetrics': 'torchmetrics'}
    check_installed('the calibration error needs', 'robustness', modules)


def expected_calibration_error(
    confidences: torch.Tensor, correct: torch.Tensor, bins: int = 15
) -> float:
    """Compute the expected calibration error (L1).

    ``sum over bins of |B| / N * |mean correct in B - mean confidence in B|``, with bins of equal
    width, from `On Calibration of Modern Neural Networks <https://arxiv.org/abs/1706.04599>`_, Eq.
    3. It equals torchmetrics' ``MulticlassCalibrationError``, which first reduces predictions to
    these two, with one difference: a confidence of exactly 1 is in the last bin, not in an extra
    one.

    Args:
        confidences (torch.Tensor): Probability of the predicted class, shape (N,).
        correct (torch.Tensor): Whether that class is the true one, shape (N,).
        bins (int): Number of bins. Defaults to 15.

    Returns:
        float: 0 to 1; not a number if there are no images.

    Raises:
        ConfigError: If torchmetrics is not installed.
    """
    check_torchmetrics()
    from torchmetrics.functional.classification import binary_calibration_error

    if not len(confidences):
        return float('nan')
    # If rounding moves one out of 0 to 1, torchmetrics takes all of them for logits.
    confidences = confidences.double().clamp(0, 1 - 2.0**-53)
    return binary_calibration_error(confidences, correct.long(), n_bins=bins, norm='l1').item()


@METRICS.register_module()
class CalibrationError(BaseMetric):
    """Expected calibration error, reported as ``calibration/ece`` in percent.

    See :func:`expected_calibration_error`. It needs ``pip install torchmetrics``.

    Args:
        bins (int): Number of bins of confidence, of equal width. Defaults to 15.
        collect_device (str): Where results of several processes are collected, 'cpu' or 'gpu'.
            Defaults to 'cpu'.
        prefix (str, optional): Prefix of the name, instead of ``calibration``.

    Raises:
        ConfigError: If torchmetrics is not installed, or ``bins`` is not positive.

    Examples:
        >>> test_evaluator = [
        ...     dict(type='mmpretrain.Accuracy'), dict(type='mmrazor.CalibrationError')]
    """

    default_prefix = 'calibration'

    def __init__(self, bins: int = 15, collect_device: str = 'cpu', prefix: Optional[str] = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not isinstance(bins, int) or bins < 1:
            raise ConfigError(f'CalibrationError: bins={bins!r} is not a positive whole number')
        check_torchmetrics()
        self.bins = bins

    def process(self, data_batch: Any, data_samples: Sequence[dict]):
        """Note confidences of predictions with ``pred_score`` and ``gt_label``."""
        for sample in data_samples:
            if 'pred_score' not in sample or sample['gt_label'].numel() != 1:
                raise ConfigError(
                    'CalibrationError needs the probabilities of the classes (pred_score) and one '
                    'true class an image'
                )
            confidence, label = sample['pred_score'].max(dim=0)
            self.results.append((confidence.item(), label.item() == sample['gt_label'].item()))

    def compute_metrics(self, results: list) -> dict:
        """Compute the error from each image's confidence, and whether its class is right."""
        confidences, correct = zip(*results) if results else ((), ())
        error = expected_calibration_error(
            torch.tensor(confidences, dtype=torch.float64), torch.tensor(correct), self.bins
        )
        return dict(ece=100 * error)
