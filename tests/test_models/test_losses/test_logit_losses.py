"""Losses of logits: ours and MMRazor's, against the formulas of their papers, class by class."""

import math

import pytest
import torch
from mmrazor.models.losses import DKDLoss
from mmrazor.registry import MODELS

from lakd_mm.models.losses import DecoupledKDLoss, StandardizedKLLoss

LABELS = torch.tensor([1, 3, 5, 7])


def wave(shape, a, b):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


@pytest.fixture
def logits():
    """The golden values' logits of student and teacher."""
    return 3 * wave((4, 10), 0.9, 0.2), 3 * wave((4, 10), 1.3, 0.5)


def softmax(row, tau=1.0):
    powers = [math.exp(z / tau) for z in row]
    return [power / sum(powers) for power in powers]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def rows(logits):
    return [(s.tolist(), t.tolist(), y) for s, t, y in zip(*logits, LABELS.tolist())]


def dkd(logits, tau, alpha, beta):
    total = 0.0
    for s, t, y in rows(logits):
        p, q = softmax(t, tau), softmax(s, tau)
        target = divergence([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = [i for i in range(len(p)) if i != y]
        rest = divergence(*([d[i] / (1 - d[y]) for i in others] for d in (p, q)))
        total += tau**2 * (alpha * target + beta * rest)
    return total / len(LABELS)


def dist(logits, tau):
    def pearson(a, b):
        a, b = ([v - sum(x) / len(x) for v in x] for x in (a, b))
        return sum(v * w for v, w in zip(a, b)) / math.hypot(*a) / math.hypot(*b)

    q, p = ([softmax(row, tau) for row in side.tolist()] for side in logits)
    inter = [1 - pearson(a, b) for a, b in zip(q, p)]
    intra = [1 - pearson(a, b) for a, b in zip(zip(*q), zip(*p))]
    return [tau**2 * sum(part) / len(part) for part in (inter, intra)]


def lskd(logits, tau):
    def standard(z):
        mean = sum(z) / len(z)
        std = math.sqrt(sum((v - mean) ** 2 for v in z) / (len(z) - 1))
        return [(v - mean) / std for v in z]

    parts = [divergence(*(softmax(standard(z), tau) for z in (t, s))) for s, t, _ in rows(logits)]
    return tau**2 * sum(parts) / len(parts)


def wsld(logits, tau):
    total = 0.0
    for s, t, y in rows(logits):
        ratio = math.log(softmax(s)[y]) / math.log(softmax(t)[y])
        soft = -sum(p * math.log(q) for p, q in zip(softmax(t, tau), softmax(s, tau)))
        total += (1 - math.exp(-ratio)) * soft
    return tau**2 * total / len(LABELS)


DKD, WSLD = (dict(type=f'mmrazor.{name}', tau=4) for name in ('DecoupledKDLoss', 'WSLD'))


@pytest.mark.parametrize(
    'cfg, labels, reference, golden',
    [
        (dict(DKD, beta=2.0), True, lambda z: dkd(z, 4, 1, 2), 8.662257982301098),
        (dict(DKD, tau=1, alpha=0.5, beta=0.5, loss_weight=3.0), True, None, 4.598746169590303),
        (
            dict(type='mmrazor.StandardizedKLLoss'),
            False,
            lambda z: 9 * lskd(z, 2),
            7.809117189968388,
        ),
        (
            dict(type='mmrazor.DISTLoss', inter_loss_weight=2.0, intra_loss_weight=0.0, tau=4),
            False,
            lambda z: 2 * dist(z, 4)[0],
            32.47014770793348,
        ),
        (
            dict(type='mmrazor.DISTLoss', inter_loss_weight=0.0, intra_loss_weight=2.0, tau=4),
            False,
            lambda z: 2 * dist(z, 4)[1],
            33.21805483326223,
        ),
        (
            dict(WSLD, loss_weight=2.25, num_classes=10),
            True,
            lambda z: 2.25 * wsld(z, 4),
            55.912712711461886,
        ),
    ],
)
def test_golden_values(logits, cfg, labels, reference, golden):
    reference = reference or (lambda z: 3 * dkd(z, 1, 0.5, 0.5))
    loss = MODELS.build(cfg)
    value = loss(*logits, *([LABELS] if labels else [])).item()
    # What keeps denominators from zero is in no paper.
    assert value == pytest.approx(reference(logits), rel=1e-6)
    assert value == pytest.approx(golden, rel=1e-12)


def test_dkd_equals_mmrazors_by_default(logits):
    student, teacher = logits
    options = dict(tau=2.0, alpha=0.5, beta=3.0, loss_weight=2.0)
    theirs = DKDLoss(**options)(student, teacher, LABELS)
    ours = DecoupledKDLoss(**options)(student, teacher, LABELS)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    # Whatever else it is told to do, it sums.
    summed = DKDLoss(**options, reduction='mean')(student, teacher, LABELS)
    torch.testing.assert_close(summed, 4 * theirs, rtol=1e-12, atol=0)


def test_dkd_of_a_target_that_outweighs_the_rest():
    student, teacher = torch.zeros(1, 3), torch.zeros(1, 3)
    student[0, 1] = 200.0
    assert DKDLoss()(student, teacher, LABELS[:1]).isinf()
    student.requires_grad_()
    value = DecoupledKDLoss(tau=1.0, beta=1.0)(student, teacher, LABELS[:1])
    # 2/3 of the teacher's probability lies where the student has e^-200.
    expected = 2 / 3 * (math.log(2 / 3) + 200 - math.log(2)) + 1 / 3 * math.log(1 / 3)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    value.backward()
    assert student.grad.isfinite().all()


def test_standardised_logits_do_not_depend_on_shift_and_scale(logits):
    student, teacher = logits
    loss = StandardizedKLLoss()
    moved = loss(5 * student - 3, teacher)
    torch.testing.assert_close(moved, loss(student, teacher), rtol=1e-6, atol=0)
    assert loss(2 * teacher + 1, teacher).abs() < 1e-6


@pytest.mark.parametrize('cls', [DecoupledKDLoss, StandardizedKLLoss])
def test_gradient_reaches_the_student_only(logits, cls):
    student, teacher = (z.requires_grad_() for z in logits)
    labels = [LABELS] if cls is DecoupledKDLoss else []
    cls()(student, teacher, *labels).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None
    with pytest.raises(ValueError, match=f'{cls.__name__}: tau=0 is not a positive number'):
        cls(tau=0)
