import pytest
import torch
from mmengine.optim import AmpOptimWrapper

import lakd_mm  # noqa: F401
from lakd_mm.compat import mmengine_amp


def wrapper(network, **kwargs):
    return AmpOptimWrapper(optimizer=torch.optim.SGD(network.parameters(), lr=0.5), **kwargs)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Linear(8, 4)


def test_a_cpu_trains_in_bf16(network):
    optim_wrapper = wrapper(network)
    before = network.weight.detach().clone()
    images = torch.randn(3, 8)
    with optim_wrapper.optim_context(network):
        output = network(images)
    assert output.dtype == torch.bfloat16
    optim_wrapper.update_params(output.float().sum())
    # The gradient of a sum is that of each input, cast to bfloat16 and summed.
    expected = before - 0.5 * images.bfloat16().float().sum(0)
    torch.testing.assert_close(network.weight.detach(), expected, rtol=0.02, atol=0.02)
    assert network.weight.dtype == torch.float32


def test_only_a_scale_that_is_asked_for(network):
    assert not wrapper(network).loss_scaler.is_enabled()
    scaled = wrapper(network, loss_scale=4.0).loss_scaler
    assert scaled.is_enabled() and scaled.get_scale() == 4.0
    assert wrapper(network, dtype='float16').loss_scaler.is_enabled()


def test_states_are_saved_and_loaded(network):
    state = wrapper(network).state_dict()
    wrapper(network).load_state_dict(state)
    state = wrapper(network, loss_scale=4.0).state_dict()
    other = wrapper(network, loss_scale=8.0)
    other.load_state_dict(state)
    assert other.loss_scaler.get_scale() == 4.0


def test_applied_once():
    init = AmpOptimWrapper.__init__
    mmengine_amp.apply()
    assert AmpOptimWrapper.__init__ is init
