import io
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger

from lakd_mm.evaluation.efficiency import WARM_UP, cost, latencies


def test_cost_by_hand(resnet, capsys):
    network = resnet(8)  # a stem and 3 stages of one block each, 16, 32 and 64 channels
    found = cost(network, (3, 32, 32))
    convolutions = [(3, 16, 32), (16, 16, 32), (16, 16, 32)]
    convolutions += [(16, 32, 16), (32, 32, 16), (32, 64, 8), (64, 64, 8)]
    shortcuts = [(16, 32, 16), (32, 64, 8)]
    macs = sum(9 * i * o * side**2 for i, o, side in convolutions)
    macs += sum(i * o * side**2 for i, o, side in shortcuts) + 64 * 10
    norms = sum(2 * o * side**2 for _, o, side in convolutions + shortcuts) + 64 * 8**2
    assert found['macs'] == macs + norms
    parameters = sum(9 * i * o + 2 * o for i, o, _ in convolutions)
    parameters += sum(i * o + 2 * o for i, o, _ in shortcuts) + 64 * 10 + 10
    assert found['parameters'] == parameters
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    assert found['bytes'] == len(file.getvalue())
    assert 4 * parameters < found['bytes'] < 4 * parameters + 40_000
    assert 'Unsupported' not in ''.join(capsys.readouterr())
    assert MMLogger.get_current_instance().level < logging.ERROR


class Counting(torch.nn.Module):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def forward(self, images, mode):
        assert mode == 'tensor' and not torch.is_grad_enabled()
        self.calls.append((self, len(images)))


def test_latencies(monkeypatch):
    """Networks take turns; an image's time is the call's, divided by the batch."""
    calls = []

    def perf_counter():
        # The n-th measured call takes n seconds, those before 1000.
        turns = [max(calls.count(call) - WARM_UP, 0) for call in set(calls)]
        return sum(n * (n + 1) / 2 for n in turns) + 1000 * min(len(calls), 2 * WARM_UP)

    clock = SimpleNamespace(perf_counter=perf_counter)
    monkeypatch.setattr('lakd_mm.evaluation.efficiency.time', clock)
    networks = {'a': Counting(calls), 'b': Counting(calls)}
    found = latencies(networks, torch.zeros(4, 3, 2, 2), calls=101)
    assert [network for network, _ in calls] == [*networks.values()] * (WARM_UP + 101)
    assert {count for _, count in calls} == {4}
    expected = dict(p50=51 * 250.0, p90=91 * 250.0, p99=100 * 250.0)
    assert found == dict(a=pytest.approx(expected), b=pytest.approx(expected))
