import pytest
import torch
from mmengine.evaluator import Evaluator
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation import TapCKA, TapDistances, cka

STAGES = [f'backbone.layer{i}' for i in (1, 2, 3)]
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)


def evaluate(metric, model, batches):
    metric.use_model(model, dict(batches[0]))
    evaluator = Evaluator(metric)
    for batch in batches:
        evaluator.process(model.val_step(batch), batch)
    return evaluator.evaluate(14)


def stage_features(network, batches):
    """Outputs of the three stages for all images, computed by hand."""
    images = torch.cat([batch['inputs'] for batch in batches])
    x = network.backbone.conv1((images.float() - 120) / 60)
    x = torch.relu(network.backbone.bn1(x))
    features = []
    for stage in STAGES:
        x = network.get_submodule(stage)(x)
        features.append(x)
    return features


@torch.no_grad()
def test_distances_at_stage_ends(algorithm, batches):
    algorithm.student.tap_names = None
    pairs = zip(*(stage_features(n, batches) for n in (algorithm.student, algorithm.teacher)))
    expected = [torch.mean((s - t) ** 2).item() for s, t in pairs]
    metric = TapDistances()
    found = evaluate(metric, algorithm, batches)
    assert found == {f'tap_distance/tap{i + 1}': pytest.approx(d) for i, d in enumerate(expected)}
    # A second epoch starts anew, and a student that moves is seen.
    algorithm.student.backbone.conv1.weight.mul_(2)
    assert evaluate(metric, algorithm, batches)['tap_distance/tap1'] != pytest.approx(expected[0])


@torch.no_grad()
def test_own_taps(resnet, batches):
    """Of a LAKD model both sides' taps are taken, also where they are not the stages' ends."""
    model = MODELS.build(
        dict(
            type='mmrazor.LAKD',
            architecture=resnet(14),
            teacher=resnet(14, seed=1),
            taps=[1, 4],
            teacher_taps=[2, 3],
            data_preprocessor=PREPROCESSOR,
        )
    ).eval()
    metric = TapDistances()
    found = evaluate(metric, model, batches)
    assert metric.pairs == [
        ('backbone.layer1.0', 'backbone.layer1.1'),
        ('backbone.layer2.1', 'backbone.layer2.0'),
    ]
    assert list(found) == ['tap_distance/tap1', 'tap_distance/tap2']
    assert min(found.values()) > 0


def test_every(algorithm, batches):
    """Every third image, by its place in the data set."""
    metric = TapDistances(every=3)
    found = evaluate(metric, algorithm, batches)
    images = torch.cat([batch['inputs'] for batch in batches])[::3]
    samples = [s for batch in batches for s in batch['data_samples']][::3]
    assert len(images) == 5
    some = [dict(inputs=images, data_samples=samples)]
    assert evaluate(TapDistances(), algorithm, some) == pytest.approx(found)


@torch.no_grad()
def test_cka_at_taps(algorithm, batches):
    features = [stage_features(n, batches[:1]) for n in (algorithm.student, algorithm.teacher)]
    expected = [cka(s, t, unbiased=True).item() for s, t in zip(*features)]
    found = evaluate(TapCKA(student_taps=STAGES, teacher_taps=STAGES), algorithm, batches[:1])
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)
    # Three batches: sums are divided last.
    together = evaluate(TapCKA(), algorithm, batches)
    assert list(together) == ['tap_cka/tap1', 'tap_cka/tap2', 'tap_cka/tap3']
    with pytest.raises(ConfigError, match='TapCKA: no batch had 4 images'):
        evaluate(TapCKA(every=7), algorithm, batches)


@pytest.mark.parametrize('teacher', [dict(widen_factor=4), dict()])
def test_networks_are_left_as_they_were(resnet, batches, teacher):
    """Modes, hooks and gradients; other widths are no trouble for CKA."""
    network = MODELS.build(cifar_resnet_cfg(8)).train()
    network.data_preprocessor = MODELS.build(PREPROCESSOR)
    metric = TapCKA(teacher=resnet(8, **teacher), data_preprocessor=PREPROCESSOR)
    metric.use_model(network, batches[0])
    assert all(module.training for module in network.backbone.modules())
    statistics = network.backbone.bn1.running_mean.clone()
    assert torch.equal(statistics, torch.zeros(16))
    assert not any(m._forward_hooks for m in network.modules())


def test_mistakes(algorithm, resnet, batches):
    with pytest.raises(ConfigError, match='every=0 is not a positive'):
        TapDistances(every=0)
    with pytest.raises(ConfigError, match='must pair up, but there are 3 .* and 1 '):
        TapDistances(teacher_taps=[1]).use_model(algorithm, batches[0])
    with pytest.raises(ConfigError, match='TapDistances.student_taps=.*no residual block 9'):
        TapDistances(student_taps=[1, 2, 9]).use_model(algorithm, batches[0])
    with pytest.raises(ConfigError, match=r'student gives \(16, 32, 32\) at .*layer1.0, the teach'):
        TapDistances(student_taps=[1], teacher_taps=[3]).use_model(algorithm, batches[0])
    with pytest.raises(ConfigError, match='needs the networks, but has none'):
        TapDistances().process(batches[0], [])
    lenet = dict(type='mmpretrain.ImageClassifier', backbone=dict(type='mmpretrain.LeNet5'))
    lenet = MODELS.build(lenet)
    algorithm.teacher_tap_names = None
    with pytest.raises(ConfigError, match='has no stages; name the modules'):
        TapDistances(teacher=lenet, data_preprocessor=PREPROCESSOR).use_model(algorithm, batches[0])
