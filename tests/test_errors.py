import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from lakd_mm.errors import misfit


def test_a_checkpoint_of_another_network_is_told_in_a_few_keys():
    network = nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)])
    state = {f'other.{index}': torch.zeros(1) for index in range(30)}
    with pytest.raises(RuntimeError, match='do not match exactly') as caught:
        load_state_dict(network, state, strict=True)
    text = misfit(caught.value)
    assert 'other.0, other.1, other.2, other.3 and 26 more missing keys' in text
    assert text.endswith('0.weight, 0.bias, 1.weight, 1.bias and 14 more')
    with pytest.raises(RuntimeError, match='^another$'):
        misfit(RuntimeError('another'))
