import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

from lakd_mm.errors import ConfigError
from lakd_mm.models import NDAMFeatureLoss
from lakd_mm.visualization import attention_figure, figure_to_array
from lakd_mm.visualization.attention_maps import (
    WEIGHT,
    check_grad_cam,
    class_activation_maps,
    feature_maps,
    grad_cam_maps,
    ndam_maps,
)

LAST = 'backbone.layer3.0'
LABELS = torch.tensor([0, 3, 7])


def network(seed=0):
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    built = MODELS.build(cifar_resnet_cfg(8))
    built.init_weights()
    torch.nn.init.normal_(built.head.fc.weight)
    return built.eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def layer3(built, images):
    with torch.no_grad():
        return built.backbone(images)[-1]


def test_feature_maps_sum_absolute_values(images):
    built = network()
    expected = layer3(built, images).abs().sum(dim=1)
    assert expected.shape == (3, 8, 8) and expected.std() > 0
    assert torch.equal(feature_maps(built, LAST, images), expected)
    # Signed: what enters a block's last ReLU.
    signed = feature_maps(built, 'backbone.layer3.0.norm2', images)
    assert (signed > 0).all()
    with pytest.raises(ConfigError, match=r'head.fc gives tensors of shape \(3, 10\), not maps'):
        feature_maps(built, 'head.fc', images)


def test_ndam_maps(images):
    teacher, student = network(0), network(1)
    students = {'ours': (student, LAST)}
    # One position a window and no maximum: W is the map over its mean.
    loss = NDAMFeatureLoss(avg_weight=1, max_weight=0, kernel_size=1)
    found = ndam_maps(teacher, LAST, students, images, loss)
    assert list(found) == ['teacher', WEIGHT, 'teacher · W', 'ours', 'ours · W']
    total, own = (layer3(built, images).abs().sum(dim=1) for built in (teacher, student))
    weight = total / total.mean(dim=(1, 2), keepdim=True)
    for name, expected in zip(found, (total, weight, weight * total, own, weight * own)):
        assert torch.allclose(found[name], expected, rtol=1e-5)

    # Alpha and beta of 0 are the feature loss without NDAM.
    found = ndam_maps(teacher, LAST, students, images, NDAMFeatureLoss(0, 0))
    assert torch.equal(found['ours · W'], own) and (found[WEIGHT] == 1).all()
    # At an earlier, larger tap of the student W is made for its size.
    found = ndam_maps(teacher, LAST, {'ours': (student, 'backbone.layer1.0')}, images)
    assert found['ours · W'].shape == found['ours'].shape == (3, 32, 32)


def test_class_activation_maps(images):
    built = network()
    feature, weight = layer3(built, images), built.head.fc.weight.detach()
    expected = torch.stack(
        [torch.einsum('c,chw->hw', weight[label], one) for label, one in zip(LABELS, feature)]
    )
    found = class_activation_maps(built, images, LABELS)
    assert torch.allclose(found, expected.relu(), atol=1e-5) and (expected < 0).any()
    # Their mean over positions is the logit.
    with torch.no_grad():
        logits = built(images)[torch.arange(3), LABELS]
    bias = built.head.fc.bias.detach()[LABELS]
    assert torch.allclose(expected.mean(dim=(1, 2)) + bias, logits, atol=1e-4)


def test_grad_cam_is_cam_at_the_last_layer(images):
    """Behind global pooling both weigh channels by the classifier's weight."""
    built = network().requires_grad_(False)
    found = grad_cam_maps(built, LAST, images, LABELS)
    cam = class_activation_maps(built, images, LABELS).numpy()
    for one, map_ in zip(found.numpy(), cam):
        large = cv2.resize((map_ - map_.min()) / (map_.max() - map_.min()), (32, 32))
        expected = (large - large.min()) / (large.max() - large.min())
        assert np.allclose(one, expected, atol=1e-4) and expected.std() > 0
    assert not any(m._forward_hooks for m in built.modules())
    with pytest.raises(ConfigError, match='gives one tensor, .*; backbone does not'):
        grad_cam_maps(built, 'backbone', images, LABELS)


def test_without_the_library(monkeypatch):
    monkeypatch.setattr('lakd_mm.errors.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'Grad-CAM needs .* pip install "lakd_mm\[figures\]"'):
        check_grad_cam()


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def groups():
    first = {'teacher': np.stack([np.eye(4), 5 * np.eye(4) + 1]), 'LAKD': np.zeros((2, 8, 8))}
    return [('tap 1', first), ('tap 2', {'later': np.full((2, 2, 2), 7.0) + np.eye(2)})]


def panels_of(figure):
    """By title, the panels of a column from the top down."""
    columns = {}
    for panel in figure.axes:
        if panel.images:
            columns.setdefault(panel.get_subplotspec().colspan.start, []).append(panel)
    return {panels[0].get_title(): panels for panels in columns.values()}


def test_figure(pictures):
    notes = {'teacher': ['cat 90%', 'dog 80%']}
    figure = attention_figure(pictures, ['cat', 'a dog'], groups(), notes=notes)
    columns = panels_of(figure)
    assert list(columns) == ['input', 'teacher', 'LAKD', 'later']
    assert [panel.get_ylabel() for panel in columns['input']] == ['cat', 'a dog']
    assert [panel.get_xlabel() for panel in columns['teacher']] == notes['teacher']
    for i, panel in enumerate(columns['input']):
        assert np.array_equal(panel.images[0].get_array(), pictures[i])
        assert panel.images[0].get_interpolation() == 'nearest'
    # The same place in its range is the same colour, whatever the map's values.
    for panel in columns['teacher']:
        grey, map_ = panel.images
        assert np.array_equal(map_.get_array(), np.eye(4))
        assert map_.get_extent() == grey.get_extent() == [0, 32, 32, 0]
        assert map_.get_interpolation() == 'bilinear'
    assert not columns['LAKD'][0].images[1].get_array().any()
    maps = [panel.images[1] for panels in list(columns.values())[1:] for panel in panels]
    assert {image.get_clim() for image in maps} == {(0, 1)}
    (bar,) = [axes for axes in figure.axes if not axes.images]
    label = bar.get_xlabel().replace('\n', ' ')
    assert label == 'tap 1 and tap 2; 0: the smallest of a map, 1: the largest'


def test_shared_scale(pictures):
    figure = attention_figure(pictures, ['cat', 'dog'], groups(), shared=True)
    columns = panels_of(figure)
    ranges = {
        title: {panel.images[1].get_clim() for panel in panels}
        for title, panels in columns.items()
        if title != 'input'
    }
    assert ranges == {'teacher': {(0, 6)}, 'LAKD': {(0, 6)}, 'later': {(7, 8)}}
    assert np.array_equal(columns['teacher'][1].images[1].get_array(), 5 * np.eye(4) + 1)
    bars = [axes.get_xlabel() for axes in figure.axes if not axes.images]
    assert bars == ['tap 1', 'tap 2']


@pytest.mark.parametrize('shared', [False, True])
def test_everything_is_inside_and_nothing_overlaps(pictures, shared):
    several = groups() if shared else groups()[1:]
    label = 'sum of absolute activations over channels, without and with the weight W'
    several = [(label, columns) for _, columns in several]
    notes = {'teacher': ['aquarium fish 100%'] * 2, 'LAKD': ['aquarium fish 100%'] * 2}
    figure = attention_figure(pictures, ['aquarium fish', 'caterpillar'], several, shared, notes)
    height, width = figure_to_array(figure).shape[:2]
    texts = [
        text
        for axes in figure.axes
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label)
        if text.get_text()
    ]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) >= 5
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :]), texts[i]
