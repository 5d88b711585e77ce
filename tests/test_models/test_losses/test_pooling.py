"""Pooling equals PyTorch's adaptive pooling, with a backward that is deterministic on CUDA."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import lakd_mm.models
from lakd_mm.models.losses.pooling import average_pool, max_pool

# Windows that divide a map, into sides of powers of 2 and others; that overlap; that repeat it.
EXACT = [((8, 8), (2, 2)), ((8, 16), (4, 1)), ((32, 32), (16, 16)), ((4, 4), (4, 4))]
DIVIDING = [*EXACT, ((14, 14), (2, 2)), ((15, 21), (5, 3))]
OTHERS = [
    ((7, 7), (2, 2)),
    ((56, 56), (16, 16)),
    ((4, 4), (8, 8)),
    ((8, 9), (3, 4)),
    ((2, 9), (7, 4)),
]


def both(pool, adaptive, sizes):
    """Results and gradients of ours and of PyTorch's."""
    torch.manual_seed(0)
    x = torch.randn(3, 5, *sizes[0], dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    results = pool(ours, sizes[1]), adaptive(theirs, sizes[1])
    weight = torch.randn_like(results[1])
    for result in results:
        (result * weight).sum().backward()
    return (results[0], ours.grad), (results[1], theirs.grad)


@pytest.mark.parametrize('sizes', DIVIDING + OTHERS)
def test_average_pool_equals_adaptive_pooling(sizes):
    (result, grad), (expected, expected_grad) = both(average_pool, F.adaptive_avg_pool2d, sizes)
    tolerance = dict(rtol=0, atol=0) if sizes in EXACT else dict(rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(result, expected, **tolerance)
    torch.testing.assert_close(grad, expected_grad, **tolerance)


@pytest.mark.parametrize('sizes', DIVIDING + OTHERS)
def test_max_pool_equals_adaptive_pooling(sizes):
    (result, grad), (expected, expected_grad) = both(max_pool, F.adaptive_max_pool2d, sizes)
    assert torch.equal(result, expected)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize('sizes', DIVIDING + OTHERS)
def test_half_precision_sums_in_float32(sizes):
    torch.manual_seed(0)
    x = 100 + torch.randn(3, 5, *sizes[0])
    with torch.autocast('cpu', torch.bfloat16):
        assert average_pool(x, sizes[1]).dtype == torch.float32
        found = average_pool(x, sizes[1])
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(x, sizes[1]), rtol=1e-6, atol=0)
    half = average_pool(x.bfloat16(), sizes[1])
    assert half.dtype == torch.bfloat16
    # One step of bfloat16 at 100.
    assert (half - F.adaptive_avg_pool2d(x.bfloat16(), sizes[1])).abs().max() <= 0.5


def test_nothing_else_pools_adaptively():
    """Its backward raises on CUDA with randomness=dict(deterministic=True)."""
    root, found = Path(lakd_mm.models.__file__).parent, []
    for path in sorted(root.rglob('*.py')):
        tree = ast.parse(path.read_text())
        # What only asks for a kind of layer pools nothing.
        asked = [n for n in ast.walk(tree) if getattr(n, 'func', n) is not n]
        asked = [n for n in asked if getattr(n.func, 'id', '') == 'isinstance']
        asked = {id(inner) for n in asked for inner in ast.walk(n)}
        for node in (n for n in ast.walk(tree) if id(n) not in asked):
            name = getattr(node, 'attr', getattr(node, 'id', ''))
            if 'adaptive' in name.lower() and 'pool' in name.lower():
                found.append(f'{path.name}:{node.lineno}: {name}')
    assert found == []
