"""Losses of features: ours and MMRazor's, against the formulas of their papers, in NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS

from lakd_mm.models.losses import (
    CorrelationCongruenceLoss,
    FactorTransferLoss,
    NeuronSelectivityLoss,
    ProbabilisticTransferLoss,
    ReviewKDLoss,
    SimilarityPreservingLoss,
    SingularVectorLoss,
    VariationalInformationLoss,
)
from lakd_mm.models.losses.singular_vector_loss import singular_vectors

WIDTHS = dict(student_channels=6, teacher_channels=6)


def wave(shape, a, b):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


def built(cfg):
    torch.manual_seed(0)
    return MODELS.build(cfg).double()


def unit(x, axis=-1):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def pooled(x, factor=2):
    """Divide a map's height and width."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // factor, factor, w // factor, factor).mean((3, 5))


def sp(s, t):
    grams = [unit(f.reshape(4, -1) @ f.reshape(4, -1).T) for f in (s, t)]
    return 3000 * np.sum((grams[0] - grams[1]) ** 2) / 16


def pkt(s, t):
    kernels = [(unit(f.reshape(4, -1)) @ unit(f.reshape(4, -1)).T + 1) / 2 for f in (s, t)]
    q, p = (k / k.sum(1, keepdims=True) for k in kernels)
    return 30000 * np.mean(p * np.log(p / q))


def cc(s, t):
    def kernel(f):
        cosines = unit(f.reshape(4, -1)) @ unit(f.reshape(4, -1)).T
        return np.exp(-0.8) * (1 + 0.8 * cosines + 0.32 * cosines**2)

    return np.mean((kernel(s) - kernel(t)) ** 2)


def nst(s, t):
    total = 0.0
    for a, b in zip(s, t):
        a, b = (unit(x.reshape(len(x), -1)) for x in (a, b))
        for first, second, sign in ((b, b, 1), (a, a, 1), (a, b, -2)):
            kernel = [[np.dot(u, v) ** 2 for v in second] for u in first]
            total += sign * np.mean(kernel)
    return 50 * total / len(s)


def ab(s, t):
    active = t > 0
    wrong = active * np.maximum(1 - s, 0) ** 2 + ~active * np.maximum(1 + s, 0) ** 2
    return wrong.sum() / len(s) * 3 / 1000


def pkd(s, t):
    """1 - r of each channel over images and positions; MMRazor's variance divides by n - 1."""
    rows = [f.transpose(1, 0, 2, 3).reshape(f.shape[1], -1) for f in (s, t)]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(*rows)]
    n = rows[0].shape[1]
    return 6 * np.mean(1 - np.array(r)) * (n - 1) / n


def cwd(s, t):
    total = 0.0
    for a, b in zip(s.reshape(-1, 64), t.reshape(-1, 64)):
        q, p = (np.exp(x / 4) / np.exp(x / 4).sum() for x in (a, b))
        total += np.sum(p * np.log(p / q))
    return 3 * 16 * total / (s.shape[0] * s.shape[1])


def mgd(s, t):
    return 7e-5 * np.sum((s - t) ** 2) / len(s)


def ft(s, t):
    factors = [unit(f.reshape(4, -1)) for f in (s, t)]
    return 500 * np.mean(np.abs(factors[0] - factors[1]))


@pytest.mark.parametrize(
    'cfg, reference, golden',
    [
        (dict(type='mmrazor.SimilarityPreservingLoss'), sp, 637.2645991533075),
        (dict(type='mmrazor.ProbabilisticTransferLoss'), pkt, 2988.6489491917214),
        (dict(type='mmrazor.CorrelationCongruenceLoss'), cc, 0.0251404179541113),
        (dict(type='mmrazor.NeuronSelectivityLoss'), nst, 56.3529895641224),
        (dict(type='mmrazor.ABLoss'), ab, 1.7197796007081791),
        (dict(type='mmrazor.PKDLoss', loss_weight=6.0), pkd, 5.9339295524746065),
        (
            dict(type='mmrazor.ChannelWiseDivergence', tau=4, loss_weight=3.0),
            cwd,
            1.476066235175902,
        ),
        (dict(type='mmrazor.MGDLoss', alpha_mgd=7e-5), mgd, 0.026712832048975708),
        (dict(type='mmrazor.FTLoss', loss_weight=500.0), ft, 29.10160947233914),
    ],
)
def test_golden_values(s_map, t_map, cfg, reference, golden):
    value = built(cfg)(s_map, t_map).item()
    # What keeps denominators from zero is in no paper.
    assert value == pytest.approx(reference(s_map.numpy(), t_map.numpy()), rel=1e-5)
    assert value == pytest.approx(golden, rel=1e-9)


def test_neighbours_of_cc(s_map, t_map):
    s, t = s_map.mean((2, 3)), t_map.mean((2, 3))
    loss = built(dict(type='mmrazor.CorrelationCongruenceLoss', kernel='neighbours', **WIDTHS))
    layers = [(x.weight.detach().numpy(), x.bias.detach().numpy()) for x in loss.embeddings]
    embedded = [f.numpy() @ w.T + b for f, (w, b) in zip((s, t), layers)]
    assert embedded[0].shape == (4, 128)
    error = np.abs(embedded[0] - embedded[1])
    expected = np.mean([error[i] @ error[i + 1] for i in range(3)])
    assert loss(s, t).item() == pytest.approx(expected, rel=1e-12)
    assert loss(s[:1], t[:1]) == 0


def test_vid(s_map, t_map):
    loss = built(dict(type='mmrazor.VariationalInformationLoss', **WIDTHS))
    torch.testing.assert_close(
        F.softplus(loss.alpha) + 1e-5, torch.full((6, 1, 1), 5.0, dtype=torch.float64)
    )
    with torch.no_grad():
        loss.alpha.copy_(wave((6, 1, 1), 1.0, 0.0))
    mean = s_map.numpy()
    for i, layer in enumerate(loss.mean[::2]):
        mean = np.einsum('oc,nchw->nohw', layer.weight.detach().numpy()[..., 0, 0], mean)
        mean = np.maximum(mean, 0) if i < 2 else mean
    variance = np.log1p(np.exp(np.sin(np.arange(6.0))))[:, None, None] + 1e-5
    t = t_map.numpy()
    expected = np.mean(0.5 * (np.log(variance) + (t - mean) ** 2 / variance))
    assert loss(s_map, t_map).item() == pytest.approx(expected, rel=1e-10)


def test_ft(s_map, t_map):
    """MMRazor's networks and its distance, put together; the reconstruction is the encoder's."""
    loss = built(dict(type='mmrazor.FactorTransferLoss', **WIDTHS))
    factor = loss.paraphraser.encoder(t_map)
    assert factor.shape == (4, 3, 8, 8)
    expected = ft(loss.translator(s_map).detach().numpy(), factor.detach().numpy())
    again = loss.paraphraser.decoder(factor).detach().numpy()
    expected += np.mean((again - t_map.numpy()) ** 2)
    value = loss(s_map, t_map)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    weight = loss.paraphraser.encoder[0].weight
    (gradient,) = torch.autograd.grad(value, weight)
    (own,) = torch.autograd.grad(
        F.mse_loss(loss.paraphraser.decoder(loss.paraphraser.encoder(t_map)), t_map), weight
    )
    torch.testing.assert_close(gradient, own)


def hcl(s, t):
    sides = [side for side in (4, 2, 1) if side < s.shape[2]]
    parts = [s - t, *(pooled(s - t, s.shape[2] // side) for side in sides)]
    weights = 0.5 ** np.arange(len(parts))
    return sum(w * np.mean(part**2) for w, part in zip(weights, parts)) / weights.sum()


def norm(x):
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def test_review_kd(s_map, t_map):
    """Two maps and a vector, from the deepest; the second map of the student is smaller."""
    students = [s_map.numpy(), pooled(s_map.numpy()), s_map.numpy()[:, :, :1, :1]]
    teachers = [t_map.numpy(), pooled(t_map.numpy()), t_map.numpy()[:, :, :1, :1]]
    loss = built(
        dict(
            type='mmrazor.ReviewKDLoss',
            student_channels=[6] * 3,
            teacher_channels=[6] * 3,
            mid_channels=5,
            loss_weight=0.6,
        )
    )
    expected, deeper = 0.0, None
    for i in (2, 1, 0):
        fusion = loss.fusions[i]
        weight = fusion.reduce[0].weight.detach().numpy()[..., 0, 0]
        fused = norm(np.einsum('oc,nchw->nohw', weight, students[i]))
        if i < 2:
            deeper = deeper.repeat(fused.shape[2] // deeper.shape[2], 2)
            deeper = deeper.repeat(fused.shape[3] // deeper.shape[3], 3)
            w, b = (x.detach().numpy() for x in (fusion.attention.weight, fusion.attention.bias))
            z = np.einsum('oc,nchw->nohw', w[..., 0, 0], np.concatenate([fused, deeper], 1))
            z = 1 / (1 + np.exp(-z - b[:, None, None]))
            fused = fused * z[:, :1] + deeper * z[:, 1:]
        deeper = fused
        padded = np.pad(fused, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        kernel = fusion.expand[0].weight.detach().numpy()
        expected += hcl(norm(np.einsum('ocij,nchwij->nohw', kernel, windows)), teachers[i])
    features = [[torch.from_numpy(x.copy()) for x in f] for f in (students, teachers)]
    for side in features:
        side[2] = side[2].flatten(1)
    value = loss(*features).item()
    assert value == pytest.approx(0.6 * expected, rel=1e-9)
    with pytest.raises(ValueError, match='2 features of the student and 3 of the teacher for 3'):
        loss(features[0][:2], features[1])


def kdsvd(students, teachers, k=1):
    total = 0.0
    for n in range(4):
        before = None
        for s, t in zip(students, teachers):
            (u, values, _), (v, _, _) = (
                np.linalg.svd(f[n].reshape(f.shape[1], -1)) for f in (t, s)
            )
            t_vectors = u[:, :k] * np.sign(u[:, :k].sum(0))
            cosines = v[:, : k + 3].T @ t_vectors
            best = np.abs(cosines).argmax(0)
            s_vectors = v[:, best] * np.sign(cosines[best, range(k)])
            weights = values[:k] / np.linalg.norm(values[:k])
            now = s_vectors * weights, t_vectors * weights
            if before is not None:
                r = [np.exp(-((a[:, None] - b[None]) ** 2) / 8) for a, b in zip(now, before)]
                total += np.sum((r[0] - r[1]) ** 2)
            before = now
    return total / 4


@pytest.mark.parametrize('count, golden', [(1, 0.0007329007817659147), (2, 0.006356221305987883)])
def test_kdsvd(s_map, t_map, count, golden):
    students = [s_map.relu(), F.avg_pool2d(t_map, 2).relu(), s_map.flip(0).abs()]
    teachers = [t_map.relu(), F.avg_pool2d(s_map, 2).abs(), t_map.flip(1).relu()]
    value = SingularVectorLoss(count)(students, teachers).item()
    expected = kdsvd(*([f.numpy() for f in side] for side in (students, teachers)), count)
    assert value == pytest.approx(expected, rel=1e-9)
    assert value == pytest.approx(golden, rel=1e-9)


def test_gradients_of_singular_vectors_are_exact_and_finite(s_map):
    feature = s_map[:2, :, :3, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: singular_vectors(f, 2)[1], feature)
    # Of two channels that are off, PyTorch's would be NaN.
    off = s_map.relu()
    off[:, :2] = 0
    off.requires_grad_()
    SingularVectorLoss()([off, off], [s_map, s_map]).backward()
    assert off.grad.isfinite().all() and off.grad.abs().sum() > 0
    SingularVectorLoss()([off * 0, off * 0], [s_map, s_map]).backward()
    assert off.grad.isfinite().all()


SINGLE = (
    CorrelationCongruenceLoss,
    FactorTransferLoss,
    NeuronSelectivityLoss,
    ProbabilisticTransferLoss,
    SimilarityPreservingLoss,
    VariationalInformationLoss,
)


@pytest.mark.parametrize('cls', [*SINGLE, ReviewKDLoss, SingularVectorLoss])
def test_gradient_reaches_the_student_only(s_map, t_map, cls):
    together = getattr(cls, 'together', False)
    widths = WIDTHS if cls in (FactorTransferLoss, VariationalInformationLoss) else {}
    if cls is ReviewKDLoss:
        widths = dict(student_channels=[6, 6], teacher_channels=[6, 6])
    loss = cls(**widths).double()
    features = [f.requires_grad_() for f in (s_map, t_map)]
    loss(*([f, f] if together else f for f in features)).backward()
    assert s_map.grad.abs().sum() > 0 and t_map.grad is None
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize('cls', [NeuronSelectivityLoss, VariationalInformationLoss])
def test_the_larger_map_is_pooled(s_map, t_map, cls):
    loss = cls(**(WIDTHS if cls is VariationalInformationLoss else {})).double()
    small = F.avg_pool2d(t_map, 2)
    torch.testing.assert_close(loss(s_map, small), loss(F.avg_pool2d(s_map, 2), small))
    with pytest.raises(ValueError, match=r'\(4, 6\).*must be \(N, C, H, W\)'):
        loss(s_map, t_map[..., 0, 0])


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda s, t: FactorTransferLoss(6, 6, rate=0.01), 'rate=0.01 leaves no channel of 6'),
        (
            lambda s, t: FactorTransferLoss(6, 6).double()(s, F.avg_pool2d(t, 2)),
            r'maps of \(8, 8\) and of \(4, 4\)',
        ),
        (lambda s, t: CorrelationCongruenceLoss('linear'), "kernel='linear' is neither"),
        (lambda s, t: CorrelationCongruenceLoss('neighbours'), 'needs student_channels and'),
        (lambda s, t: SingularVectorLoss()([s], [t]), 'give two places or more'),
        (lambda s, t: SingularVectorLoss()([s, s], [t, t[:, :3]]), 'with the same channels'),
        (lambda s, t: SingularVectorLoss(0), 'count=0 is not a positive number'),
        (lambda s, t: VariationalInformationLoss(6, 6, variance=0.0), 'not a positive number'),
    ],
)
def test_bad_input(s_map, t_map, call, message):
    with pytest.raises(ValueError, match=message):
        call(s_map, t_map)
