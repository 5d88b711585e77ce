import pytest
import torch
from mmrazor.registry import MODELS

from lakd_mm.models.losses import CATLoss


@pytest.mark.parametrize(
    'kwargs, golden',
    [
        (dict(), 0.03745861431631164),
        (dict(normalize=True), 0.49411659344673603),
        (dict(pool_size=4, normalize=True), 0.12402463290862924),
        (dict(loss_weight=0.7), 0.7 * 0.03745861431631164),
    ],
)
def test_golden_values(s_map, t_map, kwargs, golden):
    loss = MODELS.build(dict(type='mmrazor.CATLoss', **kwargs))
    torch.testing.assert_close(loss(s_map, t_map).item(), golden, rtol=1e-12, atol=0)


@pytest.mark.parametrize('normalize', [False, True])
def test_slow_reference(normalize):
    """Per sample and class, written from CAT-KD's formula; sizes that do not divide."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 5, 7, 7, generator=generator, dtype=torch.float64)
    teacher = torch.randn(3, 5, 7, 7, generator=generator, dtype=torch.float64)
    total = 0.0
    for s, t in zip(student.flatten(0, 1), teacher.flatten(0, 1)):
        grids = []
        for cam in (s, t):
            # Adaptive pooling of 7 to 2: windows [0, 4) and [3, 7).
            rows = [cam[a:b, c:d].mean() for a, b in ((0, 4), (3, 7)) for c, d in ((0, 4), (3, 7))]
            grid = torch.stack(rows)
            grids.append(grid / grid.norm() if normalize else grid)
        total += ((grids[0] - grids[1]) ** 2).sum().item()
    loss = CATLoss(normalize=normalize)(student, teacher).item()
    assert loss == pytest.approx(total / (3 * 5 * 4), rel=1e-12)


def test_equal_maps_and_batch_split(s_map, t_map):
    loss = CATLoss(normalize=True)
    assert loss(s_map, s_map).item() == 0
    halves = (loss(s_map[:2], t_map[:2]) + loss(s_map[2:], t_map[2:])) / 2
    torch.testing.assert_close(halves, loss(s_map, t_map), rtol=1e-12, atol=0)


def test_maps_of_other_size_are_pooled_but_other_classes_refused(s_map, t_map):
    pooled = torch.nn.functional.avg_pool2d(t_map, 2)
    torch.testing.assert_close(CATLoss()(s_map, pooled), CATLoss()(s_map, t_map))
    with pytest.raises(ValueError, match='images and classes must agree'):
        CATLoss()(s_map, t_map[:, :5])
    with pytest.raises(ValueError, match='pool_size=0'):
        CATLoss(pool_size=0)
