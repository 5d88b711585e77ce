"""The published teachers on a slice of the real test images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmrazor.registry import MODELS
from PIL import Image

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / 'shared'
# Right among the 100 (CIFAR-100) or 500 (CIFAR-10) first test images of the classes below, counted
# when the full test sets gave the published top-1.
CASES = [
    ('cifar100', 'cifar100_resnet56-f2eff4c8.pt', 56, ['apple', 'bed', 'bee'], 246),
    ('cifar100', 'cifar100_resnet32-84213ce6.pt', 32, ['apple', 'bed', 'bee'], 233),
    ('cifar10', 'cifar10_resnet56-187c023a.pt', 56, ['cat'], 438),
    ('cifar10', 'cifar10_resnet20-4118986f.pt', 20, ['cat'], 418),
]


@pytest.mark.parametrize('dataset, weights, depth, classes, right', CASES)
def test_top1_on_a_slice(dataset, weights, depth, classes, right):
    strips = SHARED / 'data' / dataset / 'test'
    checkpoint = SHARED / 'weights' / weights
    for needed in (strips, checkpoint):
        if not needed.exists():
            pytest.skip(f'{needed} is not here')
    cfg = Config.fromfile(ROOT / 'configs' / 'teachers' / f'resnet{depth}_{dataset}.py')
    network = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    load_checkpoint(network, str(checkpoint), strict=True)
    names = sorted({strip.stem.rpartition('-')[0] for strip in strips.glob('*.webp')})
    count = 0
    for name in classes:
        strip = np.asarray(Image.open(strips / f'{name}-0.webp').convert('RGB'))
        images = torch.from_numpy(strip.reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2)
        with torch.no_grad():
            predictions = network.test_step(dict(inputs=list(images[:500])))
        count += sum(int(p.pred_label) == names.index(name) for p in predictions)
    assert count == right
