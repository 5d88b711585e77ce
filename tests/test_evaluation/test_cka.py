import math

import pytest
import torch

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.cka import CKASums, centered, cka, gram, hsic


def wave(shape, a, b):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


@pytest.fixture
def x():
    return wave((8, 12), 0.61, 0.3)


@pytest.fixture
def y():
    return wave((8, 20), 0.47, 0.9)


def slow_hsic_1(k, m):
    """The unbiased estimator as it is printed."""
    n = len(k)
    k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
    one = torch.ones(n, dtype=torch.float64)
    trace = torch.trace(k @ m)
    product = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + product - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_golden_values(x, y):
    k, m = gram(x)[None], gram(y)[None]
    assert cka(x, y).item() == pytest.approx(0.020252509068607687, abs=1e-12)
    assert hsic(k, m).item() == pytest.approx(-11.830638319267907, abs=1e-10)
    assert hsic(k, k).item() == pytest.approx(18.746964208973157, abs=1e-10)
    assert cka(x, y, unbiased=True).item() == pytest.approx(-0.2339219817199131, abs=1e-12)


def test_against_the_formulas():
    torch.manual_seed(0)
    xs = [torch.randn(9, 3, 4, 4) for _ in range(2)]
    ys = [torch.randn(9, 5).double() for _ in range(3)]
    found = hsic(*(torch.stack([gram(f) for f in fs]) for fs in (xs, ys)))
    plain = CKASums(unbiased=False)
    plain.add(map(gram, xs), map(gram, ys))
    assert found.shape == plain.matrix().shape == (2, 3)
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            assert found[i, j].item() == pytest.approx(slow_hsic_1(gram(x), gram(y)).item())
            a, b = (f.flatten(1).double() - f.flatten(1).double().mean(0) for f in (x, y))
            linear = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
            assert plain.matrix()[i, j].item() == pytest.approx(linear.item())


@pytest.mark.parametrize('unbiased', [False, True])
def test_invariances(unbiased):
    """Rotation, scale and shift change nothing, another invertible map does."""
    torch.manual_seed(0)
    x, y = torch.randn(8, 12).double(), torch.randn(8, 20).double()
    rotation = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    assert cka(x, 3 * x @ rotation + 1, unbiased).item() == pytest.approx(1)
    stretched = x * torch.linspace(0.1, 5, 12, dtype=torch.float64)
    assert cka(x, stretched, unbiased).item() < 0.97
    assert cka(x, y, unbiased).item() == pytest.approx(cka(y, x, unbiased).item())


def test_sums_over_batches_are_divided_last():
    """Batches count by their images; those too small for the estimator are left out."""
    torch.manual_seed(0)
    x, y = torch.randn(21, 6).double(), torch.randn(21, 4).double()
    y[:, 0] += 2 * x[:, 0]
    sums, total = CKASums(), [0, 0, 0]
    for part in (slice(0, 8), slice(8, 16), slice(16, 21), slice(18, 21)):
        k, m = gram(x[part]), gram(y[part])
        sums.add([k], [m])
        if len(k) > 3:
            for i, pair in enumerate([(k, m), (k, k), (m, m)]):
                total[i] += len(k) * slow_hsic_1(*pair)
    expected = total[0] / (total[1] * total[2]).sqrt()
    assert sums.matrix().item() == pytest.approx(expected.item())
    assert 0.1 < expected < 0.9


def test_the_estimator_does_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    x = torch.randn(1200, 8).double()
    y = x @ torch.randn(8, 8).double() + torch.randn(1200, 8)
    values = {}
    for unbiased in (True, False):
        for size in (10, 400):
            sums = CKASums(unbiased)
            for part in torch.arange(1200).split(size):
                sums.add([gram(x[part])], [gram(y[part])])
            values[unbiased, size] = sums.matrix().item()
    assert values[True, 10] == pytest.approx(values[True, 400], abs=0.03)
    assert values[False, 10] > values[False, 400] + 0.1


def test_what_cannot_be_computed():
    constant = torch.ones(5, 3)
    sums = CKASums()
    with pytest.raises(ConfigError, match='at least 4 images'):
        sums.matrix()
    sums.add([gram(constant)], [gram(torch.eye(5))])
    assert sums.matrix().isnan().all()
    with pytest.raises(ConfigError, match='at least 4 images, not 3'):
        centered(torch.eye(3))
