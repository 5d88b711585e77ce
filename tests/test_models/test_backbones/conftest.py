import pytest
import torch
from mmrazor.registry import MODELS
from networks import scatter_statistics
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def trained_like(build):
    """Build a float64 network in eval mode whose BatchNorm does something."""
    return lambda cfg: scatter_statistics(build(cfg)).double()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 32, 32, generator=generator, dtype=torch.float64)


@pytest.fixture
def check_network():
    """Compare parameters with 10 and 100 classes, 10^6 conv and fc MACs with 100, and shapes."""

    def check(cfg, params10, params100, mmacs, shapes):
        for num_classes, expected in ((10, params10), (100, params100)):
            network = MODELS.build(dict(cfg, head=dict(cfg['head'], num_classes=num_classes)))
            assert sum(p.numel() for p in network.parameters()) == expected
        network.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 32, 32))
        assert round(counter.get_total_flops() / 2e6, 2) == mmacs

        every_stage = dict(cfg['backbone'], out_indices=tuple(range(len(shapes))))
        network = MODELS.build(every_stage).eval()
        with torch.no_grad():
            maps = network(torch.zeros(1, 3, 32, 32))
        assert tuple(tuple(m.shape[1:]) for m in maps) == tuple(shapes)
        network.out_indices = (1,)
        with torch.no_grad():
            (second,) = network(torch.zeros(1, 3, 32, 32))
        assert torch.equal(second, maps[1])

    return check
