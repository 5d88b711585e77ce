import pytest
import torch

from lakd_mm.errors import ConfigError
from lakd_mm.models.losses import NDAMFeatureLoss, activation_mapping, normalized_mapping


def test_golden_mapping(t_map):
    mapping = activation_mapping(t_map, 0.25, 0.75)
    assert mapping.shape == (4, 1, 8, 8)
    assert mapping.mean().item() == pytest.approx(4.809692019214491, rel=1e-12)
    assert mapping.max().item() == pytest.approx(5.140221972605562, rel=1e-12)
    padded = activation_mapping(t_map, 0.25, 0.75, count_include_pad=True)
    assert padded.mean().item() == pytest.approx(4.656872586322204, rel=1e-12)
    assert padded.max().item() == pytest.approx(5.010616264995933, rel=1e-12)


@pytest.mark.parametrize(
    'kwargs, golden',
    [
        (dict(), 1.00058891575435),
        (dict(apply='feature'), 1.010840698610733),
        (dict(avg_weight=0, max_weight=0), 0.9937809542029653),
        (dict(loss_weight=2.5), 2.5 * 1.00058891575435),
        (dict(reduction='batchmean'), 6 * 8 * 8 * 1.00058891575435),
        (dict(avg_weight=0, max_weight=0, reduction='batchmean'), 384 * 0.9937809542029653),
    ],
)
def test_golden_values(s_map, t_map, kwargs, golden):
    assert NDAMFeatureLoss(**kwargs)(s_map, t_map).item() == pytest.approx(golden, rel=1e-12)


@pytest.mark.parametrize(
    'kernel_size, use_abs', [(1, True), (3, True), (5, True), (3, False), (5, False)]
)
def test_slow_reference(kernel_size, use_abs):
    """Eq. 11 and 12 position by position, windows clipped at the border."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    half, total = kernel_size // 2, 0.0
    for s, t in zip(student, teacher):
        summed = (t.abs() if use_abs else t).sum(0)
        weight = torch.zeros(5, 6, dtype=torch.float64)
        for i in range(5):
            for j in range(6):
                window = summed[max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]
                weight[i, j] = 0.1 * window.mean() + 0.4 * window.max()
        total += (weight / weight.mean() * (t - s) ** 2).sum().item()
    loss = NDAMFeatureLoss(0.1, 0.4, kernel_size=kernel_size, use_abs=use_abs)
    assert loss(student, teacher).item() == pytest.approx(total / student.numel(), rel=1e-12)


def test_signed_sums_without_a_scale_weigh_evenly():
    signed = torch.tensor([[2.0, -2.0], [1.0, -1.0]]).expand(3, 1, 2, 2)
    assert torch.equal(normalized_mapping(signed), torch.ones(3, 1, 2, 2))
    assert torch.equal(normalized_mapping(-signed.abs()), torch.ones(3, 1, 2, 2))
    positive = signed + 1
    torch.testing.assert_close(normalized_mapping(positive), positive)


def test_abs_matters_for_signed_features_only(s_map, t_map):
    signed, absolute = NDAMFeatureLoss(use_abs=False), NDAMFeatureLoss()
    assert signed(s_map, t_map) != absolute(s_map, t_map)
    assert signed(s_map, t_map.relu()) == absolute(s_map, t_map.relu())


def test_a_dead_sample_is_weighted_evenly(s_map):
    weight = normalized_mapping(torch.zeros(2, 1, 3, 3))
    assert torch.equal(weight, torch.ones(2, 1, 3, 3))
    dead = torch.zeros_like(s_map)
    assert NDAMFeatureLoss()(s_map, dead).item() == pytest.approx(s_map.square().mean().item())


def test_mapping_is_normalised_per_sample(t_map):
    scaled = t_map * torch.tensor([1.0, 10.0, 0.1, 3.0]).reshape(4, 1, 1, 1).double()
    loss = NDAMFeatureLoss()
    weight = loss.mapping(t_map, (8, 8))
    torch.testing.assert_close(weight, loss.mapping(scaled, (8, 8)))
    torch.testing.assert_close(weight.mean((1, 2, 3)), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize('size', [(4, 4), (16, 16), (8, 8)])
def test_attention_from_elsewhere(s_map, t_map, size):
    """A larger source is pooled to the feature's size, a smaller one interpolated."""
    source = torch.nn.functional.interpolate(t_map, size)
    source.requires_grad_()
    loss = NDAMFeatureLoss()
    value = loss(s_map.requires_grad_(), t_map, source)
    value.backward()
    assert source.grad is None
    expected = loss.mapping(source.detach(), (8, 8)) * (s_map.detach() - t_map) ** 2
    assert value.item() == pytest.approx(expected.mean().item(), rel=1e-12)
    pooled = loss.mapping(wide := torch.rand(1, 2, 16, 16), (8, 8))
    total = wide.sum(1, keepdim=True)
    blocks = total.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    raw = 0.25 * blocks.mean(-1) + 0.75 * blocks.amax(-1)
    torch.testing.assert_close(pooled, raw / raw.mean())


def test_gradient_reaches_the_student_only(s_map, t_map):
    s_map.requires_grad_()
    t_map.requires_grad_()
    loss = NDAMFeatureLoss()
    loss(s_map, t_map).backward()
    weight = loss.mapping(t_map.detach(), (8, 8))
    torch.testing.assert_close(s_map.grad, 2 * weight * (s_map - t_map).detach() / s_map.numel())
    assert t_map.grad is None


def test_gradcheck():
    teacher = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    student = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: NDAMFeatureLoss()(s, teacher), student)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(kernel_size=2), 'kernel_size=2: give an odd whole number'),
        (dict(kernel_size='3'), "kernel_size='3': give an odd whole number"),
        (dict(kernel_size=3.0), 'kernel_size=3.0: give an odd whole number'),
        (dict(avg_weight=-1), 'avg_weight=-1, max_weight=0.75: give numbers of at least 0'),
        (dict(apply='both'), "apply='both'"),
        (dict(reduction='sum'), "reduction='sum'"),
    ],
)
def test_bad_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        NDAMFeatureLoss(**kwargs)


def test_shapes_must_agree(s_map, t_map):
    with pytest.raises(ValueError, match=r'\(4, 6, 8, 8\).*\(4, 5, 8, 8\).*connector'):
        NDAMFeatureLoss()(s_map, t_map[:, :5])


def test_losses_that_do_not_depend_on_the_scale(s_map, t_map):
    """By hand, in float64; 'none' grows with the square of the scale."""
    plain = dict(avg_weight=0, max_weight=0)
    losses = {
        name: NDAMFeatureLoss(**plain, normalize=name)
        for name in ('none', 'teacher', 'channel', 'instance')
    }
    found = {name: loss(s_map, t_map).item() for name, loss in losses.items()}
    difference = s_map - t_map
    rms = t_map.square().mean(dim=(0, 2, 3), keepdim=True).sqrt()

    def standard(x):
        return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True, correction=0)

    expected = dict(
        none=difference.square().mean(),
        teacher=difference.square().mean() / t_map.square().mean(),
        channel=(difference / rms).square().mean(),
        instance=(standard(s_map) - standard(t_map)).square().mean(),
    )
    for name, value in expected.items():
        # instance_norm has an epsilon of 1e-5 in its variance.
        assert found[name] == pytest.approx(value.item(), rel=1e-4 if name == 'instance' else 1e-12)
    scaled = {name: loss(10 * s_map, 10 * t_map).item() for name, loss in losses.items()}
    assert scaled['none'] == pytest.approx(100 * found['none'], rel=1e-12)
    for name in ('teacher', 'channel', 'instance'):
        assert scaled[name] == pytest.approx(found[name], rel=1e-4)


@pytest.mark.parametrize('normalize', ['teacher', 'channel', 'instance'])
def test_a_tap_of_zeros_gives_a_finite_loss(s_map, normalize):
    student = s_map.clone().requires_grad_()
    loss = NDAMFeatureLoss(normalize=normalize)(student, torch.zeros_like(s_map))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def test_an_unknown_normalization_is_refused():
    one = torch.ones(2, 4, 1, 1)
    with pytest.raises(ConfigError, match="normalize='instance' needs maps of several positions"):
        NDAMFeatureLoss(normalize='instance')(one, one)
    assert NDAMFeatureLoss(normalize='channel')(one, 3 * one) > 0
    with pytest.raises(ConfigError, match="normalize='techer'; did you mean 'teacher'"):
        NDAMFeatureLoss(normalize='techer')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_short_floats_are_compared_in_float32(s_map, t_map, dtype):
    student, teacher = (100 * feature.to(dtype) for feature in (s_map, t_map))
    loss = NDAMFeatureLoss()(student, teacher)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(NDAMFeatureLoss()(student.float(), teacher.float()).item())
