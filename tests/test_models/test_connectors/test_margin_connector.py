import pytest
import torch
from mmrazor.models.losses import OFDLoss
from networks import cifar_resnet_cfg
from torch import nn

from lakd_mm.models.connectors import MarginConnector, batchnorm_margin


def norm_of(weights, biases):
    norm = nn.BatchNorm2d(len(weights)).double()
    norm.weight.data = torch.tensor(weights, dtype=torch.float64)
    norm.bias.data = torch.tensor(biases, dtype=torch.float64)
    return norm


def test_golden_margins():
    margins = batchnorm_margin(norm_of([1.0, 0.5, 0.8, -0.5, 0.1], [0.0, 0.2, -0.3, 0.2, 0.5]))
    expected = [-0.797885, -0.334378, -0.760381, -0.334378, -0.3]
    assert margins.tolist() == pytest.approx(expected, abs=1e-6)


def test_golden_loss(s_map, t_map):
    """OFD's partial L2 of raised teacher features; MMRazor's loss holds the 1e-3."""
    connector = MarginConnector('0')
    norm = norm_of([0.5 + 0.1 * i for i in range(6)], [0.05 * i for i in range(6)])
    connector.attach(nn.Sequential(norm))
    raised = connector(t_map)
    torch.testing.assert_close(raised, t_map.maximum(batchnorm_margin(norm).view(1, 6, 1, 1)))
    assert OFDLoss()(s_map, raised).item() == pytest.approx(0.31984154850914564, rel=1e-6)


def test_margin_is_of_the_weights_that_are_there_now(build):
    network = build(cifar_resnet_cfg(8))
    connector = MarginConnector('backbone.layer1.0.bn2')
    connector.attach(network)
    low = torch.full((1, 16, 2, 2), -100.0)
    before = connector(low)
    network.backbone.layer1[0].bn2.weight.data.mul_(2)
    torch.testing.assert_close(connector(low), 2 * before)
    assert list(connector.parameters()) == [] and connector.state_dict() == {}


def test_errors(build):
    network = build(cifar_resnet_cfg(8))
    with pytest.raises(ValueError, match="no BatchNorm with weights 'backbone.layer1.0.bn3'.*bn2"):
        MarginConnector('backbone.layer1.0.bn3').attach(network)
    with pytest.raises(RuntimeError, match='attached to no network'):
        MarginConnector('bn')(torch.zeros(1, 16, 2, 2))
