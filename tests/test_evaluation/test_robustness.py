import math

import pytest
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.corruptions import corrupt_batch
from lakd_mm.evaluation.robustness import (
    CLEAN,
    Score,
    corrupted_batches,
    corruption_error_against,
    errors_of,
    mean_corruption_error,
    scores,
)
from lakd_mm.evaluation.sample_images import sample_images

PACK = dict(type='mmpretrain.PackInputs')
DIGITS = dict(type='mmrazor.Digits', split='test', pipeline=[PACK])
NAMES, SEVERITIES = ['jpeg', 'gaussian_noise'], [2, 5]


@pytest.fixture(scope='module')
def loader():
    dataloader = dict(dataset=DIGITS, num_workers=0)
    return sample_images(Config(dict(test_dataloader=dataloader)), 20, batch_size=8)


def preprocessor(**options):
    return MODELS.build(
        dict(type='mmpretrain.ClsDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, **options)
    )


def test_mean_corruption_error_by_hand():
    ours = {'noise': [10.0, 20.0, 60.0], 'blur': [0.0, 30.0, 30.0]}
    reference = {'noise': [30.0, 30.0, 60.0], 'blur': [20.0, 20.0, 40.0]}
    assert mean_corruption_error(ours) == pytest.approx((30 + 20) / 2)
    # (90 / 120 + 60 / 80) / 2; not (90 + 60) / (120 + 80).
    assert corruption_error_against(ours, reference) == pytest.approx(75)
    reference['blur'] = [20.0, 10.0, 10.0]
    assert corruption_error_against(ours, reference) == pytest.approx(100 * (0.75 + 1.5) / 2)
    assert corruption_error_against(reference, reference) == pytest.approx(100)
    perfect = {'noise': [0.0] * 3, 'blur': [1.0] * 3}
    assert math.isnan(corruption_error_against(ours, perfect))
    assert corruption_error_against(perfect, ours) == pytest.approx(100 * (0 + 3 / 60) / 2)


def test_errors_of():
    sets = {
        CLEAN: Score(99.0, 1.0),
        ('snow', 4): Score(60.0, 1.0),
        ('fog', 4): Score(50.0, 1.0),
        ('snow', 1): Score(90.0, 1.0),
        ('fog', 1): Score(80.0, 1.0),
    }
    assert errors_of(sets) == {'snow': [10.0, 40.0], 'fog': [20.0, 50.0]}


def collect(batches):
    found = {}
    for key, images, labels in batches:
        found.setdefault(key, []).append((images, labels))
    return {key: tuple(map(torch.cat, zip(*parts))) for key, parts in found.items()}


def test_corrupted_batches(loader):
    found = collect(corrupted_batches(loader, False, NAMES, SEVERITIES, seed=3))
    assert list(found) == [CLEAN] + [(name, s) for name in NAMES for s in SEVERITIES]
    clean, labels = found.pop(CLEAN)
    assert torch.equal(clean, torch.cat([batch['inputs'] for batch in loader]))
    assert clean.shape == (20, 3, 32, 32) and len(set(labels.tolist())) > 3
    for (name, severity), (images, its_labels) in found.items():
        assert torch.equal(images, corrupt_batch(clean, name, severity, seed=3))
        assert torch.equal(its_labels, labels)
    # Images in BGR are given in BGR, and corrupted as RGB.
    bgr = collect(corrupted_batches(loader, True, NAMES, SEVERITIES, seed=3))
    for key, (images, _) in found.items():
        assert torch.equal(bgr[key][0], images.flip(1))


def test_scores_are_those_of_a_plain_loop(loader, resnet):
    networks = {'a': resnet(seed=0), 'b': resnet(seed=1)}
    batches = list(corrupted_batches(loader, False, NAMES, SEVERITIES))
    found = scores(networks, batches, preprocessor())
    for name, network in networks.items():
        for key, (images, labels) in collect(batches).items():
            with torch.no_grad():
                logits = network((images.float() - 120) / 60, mode='tensor')
            right = (logits.argmax(1) == labels).double().mean().item()
            assert found[name][key].top1 == pytest.approx(100 * right)
            sure = logits.softmax(1).max(1).values.mean().item()
            # Of one bin it would be the difference; bins only add to it.
            assert found[name][key].ece >= 100 * abs(right - sure) - 1e-3
    assert found['a'] != found['b']


def test_mistakes(loader, resnet):
    batches = [(CLEAN, torch.zeros(2, 3, 32, 32), torch.tensor([1, 10]))]
    with pytest.raises(ConfigError, match='a has 10 classes, but .* of class 10'):
        scores({'a': resnet()}, batches, preprocessor())
    floats = [dict(batch, inputs=batch['inputs'].float()) for batch in loader]
    with pytest.raises(ConfigError, match='the images must be uint8 of one size'):
        next(corrupted_batches(floats, False, NAMES, SEVERITIES))
