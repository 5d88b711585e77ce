import itertools

import pytest
import torch
import torch.nn.functional as F
from mmrazor.models.losses import AngleWiseRKD, DistanceWiseRKD
from mmrazor.registry import MODELS
from torch._subclasses.fake_tensor import FakeTensorMode

from lakd_mm.models.losses import RKDAngleLoss, RKDDistanceLoss

LOSSES = [(RKDDistanceLoss, DistanceWiseRKD), (RKDAngleLoss, AngleWiseRKD)]


@pytest.fixture
def vectors():
    """Of student and teacher, of different widths; two images of each are the same."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(6, d, generator=generator, dtype=torch.float64) for d in (8, 12)]
    return [torch.cat([v, v[2:3]]) for v in made]


@pytest.mark.parametrize('with_l2_norm', [False, True])
@pytest.mark.parametrize('ours, theirs', LOSSES)
def test_equals_mmrazors(vectors, ours, theirs, with_l2_norm):
    student, teacher = vectors
    values, grads = [], []
    for cls in (ours, theirs):
        feature = student.clone().requires_grad_()
        values.append(cls(with_l2_norm=with_l2_norm, loss_weight=3.0)(feature, teacher))
        values[-1].backward()
        grads.append(feature.grad)
    assert values[0] > 0 and grads[0].abs().max() > 0
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


def test_slow_reference(vectors):
    """From the formulas, pair by pair and triple by triple."""
    student, teacher = (v[:6] for v in vectors)

    def distances(points):
        table = [[(a - b).norm() for b in points] for a in points]
        mean = sum(map(sum, table)) / 30
        return torch.tensor([[d / mean for d in row] for row in table], dtype=torch.float64)

    def angle(points, i, j, k):
        if i in (j, k):
            return torch.zeros((), dtype=torch.float64)
        first, second = points[j] - points[i], points[k] - points[i]
        return first @ second / first.norm() / second.norm()

    expected = F.smooth_l1_loss(distances(student), distances(teacher))
    loss = MODELS.build(dict(type='mmrazor.RKDDistanceLoss', loss_weight=25.0))
    torch.testing.assert_close(loss(student, teacher), 25 * expected, rtol=1e-9, atol=0)
    expected = sum(
        F.smooth_l1_loss(angle(student, i, j, k), angle(teacher, i, j, k))
        for i, j, k in itertools.product(range(6), repeat=3)
    )
    loss = MODELS.build(dict(type='mmrazor.RKDAngleLoss', loss_weight=50.0))
    torch.testing.assert_close(loss(student, teacher), 50 * expected / 216, rtol=1e-9, atol=0)


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
def test_maps_count_as_vectors_and_the_teacher_is_constant(vectors, cls):
    student, teacher = (v.requires_grad_() for v in vectors)
    value = cls()(student, teacher)
    assert torch.equal(cls()(student.unflatten(1, (2, 2, 2)), teacher.unflatten(1, (3, 4))), value)
    value.backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
def test_a_single_image_has_no_relations(cls):
    """The last batch of an epoch may have one; MMRazor's distances become NaN there."""
    student = torch.ones(1, 4, requires_grad=True)
    value = cls()(student, torch.zeros(1, 4))
    value.backward()
    assert value == 0 and torch.equal(student.grad, torch.zeros(1, 4))


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
def test_nothing_waits_for_a_gpu(cls):
    """A CUDA graph can hold it: on a GPU (a pretended one), no shape or branch depends on data."""
    with FakeTensorMode():
        features = [torch.randn(4, d, device='cuda', requires_grad=True) for d in (8, 12)]
        assert cls()(*features).device.type == 'cuda'
        if cls is RKDDistanceLoss:
            with pytest.raises(Exception, match='aten.nonzero'):
                DistanceWiseRKD()(*features)


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
def test_bad_input(vectors, cls):
    with pytest.raises(ValueError, match=f'{cls.__name__}: 7 images of the student and 5'):
        cls()(vectors[0], vectors[1][:5])
