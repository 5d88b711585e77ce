import copy

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

import lakd_mm  # noqa: F401

PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def resnet():
    """Build a ResNet-8 or the like with seeded weights that predict different classes."""

    def build(depth=8, seed=0, **backbone):
        torch.manual_seed(seed)
        network = MODELS.build(cifar_resnet_cfg(depth, **backbone))
        network.init_weights()
        torch.nn.init.normal_(network.head.fc.weight)
        return network.eval()

    return build


@pytest.fixture
def algorithm(resnet):
    """LAKD of two small networks."""
    return MODELS.build(
        dict(
            type='mmrazor.LAKD',
            architecture=resnet(8, seed=0),
            teacher=resnet(14, seed=1),
            data_preprocessor=dict(PREPROCESSOR),
        )
    ).eval()


@pytest.fixture
def batches():
    """Three batches of 5, 5 and 4 images as a data loader gives them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (14, 3, 32, 32), dtype=torch.uint8, generator=generator)
    items = [
        dict(
            inputs=image,
            data_samples=DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 3),
        )
        for i, image in enumerate(images)
    ]
    return [default_collate(copy.deepcopy(items[i : i + 5])) for i in (0, 5, 10)]
