import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from mmrazor.registry import METRICS
from torchmetrics.classification import MulticlassCalibrationError

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.calibration import expected_calibration_error


def slow_ece(confidences, correct, bins=15):
    """Eq. 3 of Guo et al., bin by bin."""
    total = 0.0
    for i in range(bins):
        chosen = [
            (c, float(r))
            for c, r in zip(confidences.tolist(), correct.tolist())
            if i / bins <= c < (i + 1) / bins or (c == 1 and i == bins - 1)
        ]
        if chosen:
            mean_confidence = sum(c for c, _ in chosen) / len(chosen)
            accuracy = sum(r for _, r in chosen) / len(chosen)
            total += len(chosen) / len(confidences) * abs(accuracy - mean_confidence)
    return total


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 10, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(10, (200,), generator=generator)


@pytest.mark.parametrize('bins', [15, 4, 1])
def test_equals_a_slow_reference(predictions, bins):
    scores, labels = predictions
    confidences, classes = scores.max(1)
    correct = classes == labels
    found = expected_calibration_error(confidences, correct, bins)
    assert found == pytest.approx(slow_ece(confidences, correct, bins), abs=1e-12)
    theirs = MulticlassCalibrationError(num_classes=10, n_bins=bins, norm='l1')
    assert found == pytest.approx(theirs(scores, labels).item(), abs=1e-6)


def test_by_hand():
    # Bin 6 of 15 (0.4 to 0.4667): sure 0.42, right 1 of 2. Bin 15: sure 0.95 and 1, right 1 of 2.
    confidences = torch.tensor([0.41, 0.43, 0.95, 1.0])
    correct = torch.tensor([True, False, True, False])
    expected = 0.5 * abs(0.5 - 0.42) + 0.5 * abs(0.5 - 0.975)
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected, abs=1e-7)
    # Torchmetrics alone puts the 1 into a bin of its own.
    assert expected == pytest.approx(slow_ece(confidences, correct), abs=1e-7)
    assert expected_calibration_error(torch.ones(3), torch.ones(3)) == pytest.approx(0, abs=1e-9)
    # Above 1 by rounding they are no logits.
    above = torch.tensor([1 + 1e-6, 0.5])
    assert expected_calibration_error(above, torch.tensor([1, 0])) == pytest.approx(0.25, abs=1e-6)
    empty = expected_calibration_error(torch.ones(0), torch.ones(0))
    assert empty != empty


def test_metric(predictions):
    scores, labels = predictions
    samples = [
        DataSample().set_pred_score(score).set_gt_label(label) for score, label in zip(*predictions)
    ]
    evaluator = Evaluator(dict(type='mmrazor.CalibrationError'))
    for part in (samples[:150], samples[150:]):
        evaluator.process(part)
    confidences, classes = scores.max(1)
    expected = 100 * slow_ece(confidences, classes == labels)
    assert evaluator.evaluate(200) == {'calibration/ece': pytest.approx(expected, abs=1e-9)}
    metric = METRICS.build(dict(type='mmrazor.CalibrationError', bins=1, prefix='x'))
    metric.process({}, [sample.to_dict() for sample in samples])
    gap = (confidences.mean() - (classes == labels).double().mean()).abs()
    assert metric.evaluate(200) == {'x/ece': pytest.approx(100 * gap.item(), abs=1e-9)}


def test_mistakes(monkeypatch):
    metric = METRICS.build(dict(type='mmrazor.CalibrationError'))
    with pytest.raises(ConfigError, match='probabilities of the classes'):
        metric.process({}, [dict(gt_label=torch.tensor([1]), pred_label=torch.tensor([1]))])
    with pytest.raises(ConfigError, match='bins=0 is not a positive'):
        METRICS.build(dict(type='mmrazor.CalibrationError', bins=0))
    monkeypatch.setattr('lakd_mm.errors.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='or pip install torchmetrics'):
        METRICS.build(dict(type='mmrazor.CalibrationError'))
