import pytest
import torch
from mmrazor.registry import MODELS


def connect(record, **kwargs):
    return MODELS.build(dict(type='mmrazor.MapConnector', **kwargs))(record)


@pytest.mark.parametrize('extra', [0, 1, 2])
def test_tokens_behind_a_class_token_become_a_map(extra):
    maps = torch.rand(2, 3, 4, 2)
    tokens = torch.cat([torch.rand(2, extra, 3), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(connect(tokens, kind='tokens', grid=(4, 2)), maps)


def test_channels_last_and_pooled():
    maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    found = connect(maps.permute(0, 2, 3, 1), kind='channels_last', size=(2, 2))
    assert torch.equal(found[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))


def test_a_further_connector_gets_the_map():
    inner = dict(type='mmrazor.ConvModuleConnector', in_channel=3, out_channel=5)
    found = connect(torch.rand(2, 17, 3), kind='tokens', grid=(4, 4), connector=inner)
    assert found.shape == (2, 5, 4, 4)


@pytest.mark.parametrize(
    'options, message',
    [(dict(kind='token'), "kind='token' is none of"), (dict(kind='tokens'), 'needs grid')],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='mmrazor.MapConnector', **options))
