import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS
from mmrazor.registry import MODELS

from lakd_mm.errors import ConfigError
from lakd_mm.models.data_preprocessor import crop_flip

VIEWS = 9 * 9 * 2


@pytest.fixture
def image():
    """Every pixel another value, so that a view tells which one it is."""
    return torch.arange(1, 1 + 3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)


def all_views(image):
    """The 162 crops and flips of an image padded by 4 zeros, by their bytes."""
    padded = np.zeros((3, 16, 16), np.uint8)
    padded[:, 4:12, 4:12] = image.numpy()
    views = [padded[:, i : i + 8, j : j + 8] for i in range(9) for j in range(9)]
    views += [view[:, :, ::-1] for view in views]
    assert len({view.tobytes() for view in views}) == VIEWS
    return {view.tobytes(): k for k, view in enumerate(views)}


def test_all_views_equally_often(image):
    torch.manual_seed(0)
    views, each = all_views(image), 100
    crops = crop_flip(image.expand(VIEWS * each, -1, -1, -1), 4, 0.5)
    counts = torch.zeros(VIEWS)
    for crop in crops.numpy():
        counts[views[crop.tobytes()]] += 1
    # Chi-squared with 161 degrees of freedom: its 99.9 % quantile is 222.
    assert ((counts - each) ** 2 / each).sum() < 222


def test_the_per_image_pipeline_has_the_same_views(image):
    views, seen = all_views(image), set()
    np.random.seed(0)
    pipeline = [
        TRANSFORMS.build(dict(type='RandomCrop', crop_size=8, padding=4)),
        TRANSFORMS.build(dict(type='RandomFlip', prob=0.5, direction='horizontal')),
    ]
    for _ in range(2000):
        results = dict(img=image.permute(1, 2, 0).numpy().copy())
        for step in pipeline:
            results = step(results)
        seen.add(views[np.ascontiguousarray(results['img'].transpose(2, 0, 1)).tobytes()])
    assert seen == set(range(VIEWS))


def test_images_are_augmented_each_on_its_own(image):
    torch.manual_seed(0)
    views = all_views(image)
    crops = crop_flip(image.expand(64, -1, -1, -1), 4, 0.5)
    assert len({views[crop.tobytes()] for crop in crops.numpy()}) > 30
    for flip_prob, kinds in ((0.0, {0}), (1.0, {1})):
        crops = crop_flip(image.expand(64, -1, -1, -1), 4, flip_prob)
        assert {views[crop.tobytes()] // 81 for crop in crops.numpy()} == kinds
    assert torch.equal(crop_flip(image[None], 0, 0.0)[0], image)


def test_training_augments_and_normalises_and_testing_normalises(image):
    settings = dict(mean=[10.0] * 3, std=[2.0] * 3)
    preprocessor = MODELS.build(dict(type='mmrazor.CropFlipDataPreprocessor', **settings))
    batch = image.expand(32, -1, -1, -1)
    tested = preprocessor(dict(inputs=batch))['inputs']
    assert torch.equal(tested, (batch.float() - 10) / 2)
    torch.manual_seed(1)
    trained = preprocessor(dict(inputs=batch), training=True)['inputs']
    torch.manual_seed(1)
    assert torch.equal(trained, (crop_flip(batch, 4, 0.5).float() - 10) / 2)


def test_validation_computes_in_channels_last_as_training_does(image):
    settings = dict(mean=[10.0] * 3, std=[2.0] * 3)
    preprocessor = MODELS.build(dict(type='mmrazor.CropFlipDataPreprocessor', **settings))
    batch = image.repeat(4, 1, 1, 1)
    trained, plain = (preprocessor(dict(inputs=batch), training)['inputs'] for training in (1, 0))
    with torch.no_grad():
        validated = preprocessor(dict(inputs=batch))['inputs']
    formats = [x.is_contiguous(memory_format=torch.channels_last) for x in (trained, validated)]
    assert formats == [True, True] and plain.is_contiguous()
    assert torch.equal(validated, plain)


def test_keys_choose_the_crop():
    """The same key gives the same crop; many keys give every crop, and half of them flipped."""
    image = torch.arange(1, 8 * 8 + 1, dtype=torch.float32).reshape(1, 1, 8, 8)
    keys = torch.arange(4000)
    images = image.expand(4000, -1, -1, -1)
    found = crop_flip(images, 1, 0.5, keys)
    assert torch.equal(crop_flip(images, 1, 0.5, keys), found)
    assert torch.equal(crop_flip(images[:3], 1, 0.5, torch.tensor([7, 0, 7])), found[[7, 0, 7]])
    crops, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(crops) == 2 * 3 * 3
    assert counts.min() > 4000 / 18 * 0.75 and counts.max() < 4000 / 18 * 1.25
    plain = crop_flip(images, 1, 0.0, keys)
    assert len(plain.flatten(1).unique(dim=0)) == 9


def test_a_list_of_images_is_a_batch():
    preprocessor = MODELS.build(
        dict(type='mmrazor.CropFlipDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
    )
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    found = preprocessor(dict(inputs=list(images)))['inputs']
    assert torch.equal(found, (images - 1.0) / 2)
    with pytest.raises(ConfigError, match=r'differ in size: \(3, 8, 7\) and \(3, 8, 8\)'):
        preprocessor(dict(inputs=[images[0], images[1, :, :, :7]]))
