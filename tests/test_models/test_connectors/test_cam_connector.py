import pytest
import torch
from networks import cifar_resnet_cfg

from lakd_mm.models import CAMConnector


def test_maps_and_gradients(build, batch):
    network = build(cifar_resnet_cfg(8)).eval()
    connector = CAMConnector()
    connector.attach(network)
    feature = network.extract_feat(batch['inputs'], stage='backbone')[-1]
    maps = connector(feature)
    assert maps.shape == (4, 10, 8, 8)
    expected = torch.einsum('kc,nchw->nkhw', network.head.fc.weight, feature)
    torch.testing.assert_close(maps, expected)
    maps.sum().backward()
    assert network.head.fc.weight.grad.abs().sum() > 0
    assert network.backbone.conv1.weight.grad.abs().sum() > 0
    # The layer stays the network's: it is neither saved nor optimised twice.
    assert list(connector.parameters()) == [] and connector.state_dict() == {}


def test_errors(build):
    network = build(cifar_resnet_cfg(8))
    with pytest.raises(ValueError, match="no linear layer 'head.fcs'; did you mean 'head.fc'"):
        CAMConnector('head.fcs').attach(network)
    with pytest.raises(RuntimeError, match='attached to no network'):
        CAMConnector()(torch.zeros(1, 64, 8, 8))
