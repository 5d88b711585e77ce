"""What a step computes has a deterministic implementation on CUDA too."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from networks import cifar_resnet_cfg
from torch.utils._python_dispatch import TorchDispatchMode

METHODS = Path(__file__).parents[3] / 'configs' / '_base_' / 'methods'
# From torch.use_deterministic_algorithms: on CUDA these raise. Bilinear interpolation does not: on
# CUDA, PyTorch takes it apart then.
RAISES = {
    '_adaptive_avg_pool2d_backward',
    'adaptive_max_pool2d_backward',
    'avg_pool3d_backward',
    'cumsum',
    'grid_sampler_2d_backward',
    'histc',
    'max_pool3d_with_indices_backward',
    'median',
    'nll_loss2d_forward',
    'put_',
    'reflection_pad2d_backward',
    'replication_pad2d_backward',
}


class Operators(TorchDispatchMode):
    """Collects the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def classification(name):
    return Config.fromfile(METHODS / 'classification.py').methods[name].to_dict()


def model_cfg(name, **kwargs):
    model = dict(type='mmrazor.LAKD') if name == 'lakd' else classification(name)
    return dict(
        model,
        architecture=cifar_resnet_cfg(8),
        teacher=cifar_resnet_cfg(14),
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3
        ),
        **kwargs,
    )


def train(model, batch):
    """Run two steps; return the operators, the losses and the weights."""
    torch.manual_seed(0)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    samples = [
        DataSample(metainfo=dict(sample_idx=i)).set_gt_label(int(sample.gt_label))
        for i, sample in enumerate(batch['data_samples'])
    ]
    model.train()
    with Operators() as operators:
        for _ in range(2):
            data = dict(inputs=list(batch['inputs']), data_samples=samples)
            losses = model.train_step(data, wrapper)
    return operators.names, losses, [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    'name', ['lakd', 'at', 'cankd', 'cat_kd', 'causal_kd_fa_at', 'crd', 'hmat', 'ofd', 'rkd']
)
def test_a_step_has_deterministic_operators_alone(build, batch, name):
    (operators, losses, weights), (_, again, same) = (
        train(build(model_cfg(name)), batch) for _ in range(2)
    )
    assert 'convolution_backward' in operators
    assert operators & RAISES == set()
    assert losses.keys() == again.keys()
    assert all(torch.equal(losses[key], again[key]) for key in losses)
    assert all(map(torch.equal, weights, same))
