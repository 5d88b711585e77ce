import cv2
import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS

from lakd_mm.datasets import Digits
from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    Corrupt,
    corrupt,
    corrupt_batch,
)

RANDOM = ['gaussian_noise', 'occlusion', 'elastic']


def smooth_images(count=6, size=32, channels=3):
    """Blurred noise: images with edges and plain areas."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, size // 4, size // 4, channels), dtype=np.uint8)
    images = [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in small]
    return np.stack(images).reshape(count, size, size, channels)


@pytest.fixture
def images():
    return torch.from_numpy(smooth_images()).permute(0, 3, 1, 2)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_grows_with_severity(images, name):
    distances = []
    for severity in SEVERITIES:
        corrupted = corrupt_batch(images, name, severity)
        assert corrupted.shape == images.shape and corrupted.dtype == torch.uint8
        distances.append((corrupted.double() - images.double()).abs().mean().item())
    assert distances[0] > 0 and distances == sorted(set(distances))


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_depends_on_image_and_seed_alone(images, name):
    before = images.clone()
    corrupted = corrupt_batch(images, name, 3)
    assert torch.equal(images, before)
    # One by one, and the other way round.
    alone = torch.cat([corrupt_batch(image[None], name, 3) for image in images.flip(0)]).flip(0)
    assert torch.equal(corrupted, alone)
    assert torch.equal(corrupt_batch(images, name, 3, seed=1), corrupted) == (name not in RANDOM)


def test_two_images_get_different_noise(images):
    grey = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    grey[1] += 1
    noises = [corrupt(image, 'gaussian_noise', 5).astype(int) - image for image in grey]
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.1
    # Of one image, severities are the same noise at another strength.
    weaker = corrupt(grey[0], 'gaussian_noise', 4).astype(int) - grey[0]
    assert np.corrcoef(noises[0].ravel(), weaker.ravel())[0, 1] > 0.99


def test_levels_are_what_the_table_says():
    grey = np.full((64, 64, 3), 100, dtype=np.uint8)
    assert corrupt(grey, 'gaussian_noise', 5).std() == pytest.approx(0.09 * 255, rel=0.02)
    assert np.unique(corrupt(grey, 'brightness', 2)).tolist() == [151]
    assert np.unique(corrupt(grey + np.uint8(100), 'brightness', 5)).tolist() == [255]
    squares = [corrupt(grey, 'occlusion', severity) == 128 for severity in SEVERITIES]
    assert [int(one[..., 0].sum()) for one in squares] == [13**2, 19**2, 26**2, 32**2, 38**2]
    assert all((small <= large).all() for small, large in zip(squares, squares[1:]))
    # About each channel's own mean, which stays.
    two = np.full((4, 4, 3), (10, 110, 200), dtype=np.uint8)
    two[::2] += 40
    lessened = corrupt(two, 'contrast', 2)
    assert lessened[0, 0].tolist() == [40, 140, 230] and lessened[1, 0].tolist() == [20, 120, 210]


@pytest.mark.parametrize('name', ['gaussian_blur', 'elastic'])
def test_lengths_grow_with_the_image(name):
    """An image of twice the side, seen at 32, is corrupted about as much."""
    images = smooth_images(4)
    large = [cv2.resize(image, (128, 128), interpolation=cv2.INTER_CUBIC) for image in images]
    distance = lambda a: np.mean([np.abs(corrupt(x, name, 5).astype(int) - x).mean() for x in a])  # noqa: E731
    assert distance(large) == pytest.approx(distance(images), rel=0.25)


@pytest.mark.parametrize('name', CORRUPTIONS)
@pytest.mark.parametrize('shape', [(20, 32, 1), (33, 17, 3)])
def test_shapes(name, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    corrupted = corrupt(image, name, 4)
    assert corrupted.shape == shape and corrupted.dtype == np.uint8
    assert not np.array_equal(corrupted, image)


def test_jpeg_is_of_rgb():
    """JPEG blurs colours more than brightness, so the order of the channels counts."""
    image = smooth_images(1)[0]
    _, code = cv2.imencode('.jpg', image[..., ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 10])
    assert np.array_equal(corrupt(image, 'jpeg', 5), cv2.imdecode(code, 1)[..., ::-1])


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_transform(order):
    """The same image whichever order its channels are in."""
    image = smooth_images(1)[0]
    given = image[..., ::-1] if order == 'bgr' else image
    for name in CORRUPTIONS:
        transform = Corrupt(name, 4, seed=5, channel_order=order)
        found = transform(dict(img=given.copy()))['img']
        expected = corrupt(image, name, 4, seed=5)
        assert np.array_equal(found, expected[..., ::-1] if order == 'bgr' else expected)
        assert found.flags.c_contiguous
    assert repr(transform).startswith("Corrupt(name='elastic', severity=4, seed=5")


def test_in_a_pipeline():
    step = dict(type='mmrazor.Corrupt', name='jpeg', severity=4)
    digits = Digits(
        split='test', indices=4, pipeline=[dict(type='mmpretrain.PackInputs')], lazy_init=True
    )
    clean = digits[3]['inputs']
    digits.pipeline.transforms.insert(0, TRANSFORMS.build(step))
    assert torch.equal(digits[3]['inputs'], corrupt_batch(clean[None], 'jpeg', 4)[0])


def test_mistakes():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    for arguments, message in {
        ('gausian_noise', 1): "no corruption 'gausian_noise'; did you mean 'gaussian_noise'",
        ('jpeg', 0): r'severity 0: there are 1 \(mild\) to 5',
        ('jpeg', 6): 'severity 6',
        ('jpeg', 1, -1): 'seed=-1 is not a whole number',
    }.items():
        with pytest.raises(ConfigError, match=message):
            corrupt(image, *arguments)
    with pytest.raises(ConfigError, match='the image is float32, not uint8'):
        corrupt(image.astype(np.float32), 'jpeg', 1)
    with pytest.raises(ConfigError, match='2 channels, JPEG has 1 or 3'):
        corrupt(image[..., :2], 'jpeg', 1)
    with pytest.raises(ConfigError, match="channel_order='gbr'"):
        Corrupt('jpeg', 1, channel_order='gbr')
