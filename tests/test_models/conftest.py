import math

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

import lakd_mm  # noqa: F401


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    init_default_scope('mmpretrain')


def wave(shape, a, b):
    """The fixture of the golden values: sin(a k + b), k row-major, float64."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


@pytest.fixture
def s_map():
    return wave((4, 6, 8, 8), 0.37, 0.1)


@pytest.fixture
def t_map():
    return wave((4, 6, 8, 8), 0.29, 0.7)


@pytest.fixture
def build():
    """Build a model from its config, seeded and with its weights initialised."""

    def _build(cfg):
        torch.manual_seed(0)
        model = MODELS.build(cfg)
        model.init_weights()
        return model

    return _build


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(i % 10) for i in range(4)])
