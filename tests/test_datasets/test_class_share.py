import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmrazor.registry import DATASETS

import lakd_mm  # noqa: F401
from lakd_mm.errors import ConfigError


def share(part, **kwargs):
    init_default_scope('mmpretrain')
    dataset = dict(type='mmrazor.Digits', split='train', pipeline=[])
    return DATASETS.build(dict(type='mmrazor.class_share', dataset=dataset, share=part, **kwargs))


def images(dataset):
    return {dataset[i]['img'].tobytes() for i in range(len(dataset))}


def test_a_share_of_each_class_and_the_same_images_again():
    whole = DATASETS.build(dict(type='mmrazor.Digits', split='train', pipeline=[]))
    counts = np.bincount(whole.get_gt_labels())
    tenth = share(0.1)
    assert np.bincount(tenth.get_gt_labels()).tolist() == np.ceil(counts / 10).tolist()
    assert images(tenth) == images(share(0.1))
    assert images(tenth) < images(share(0.3)) < images(whole)
    assert images(tenth) != images(share(0.1, seed=1))
    assert len(share(1.0)) == len(whole)
    # 0.07 * 100 is a little more than 7 as a float.
    assert [tenth[i]['sample_idx'] for i in range(3)] == [0, 1, 2]


def test_the_rest():
    """Training and validation images: disjoint, together everything, each class in both."""
    whole = DATASETS.build(dict(type='mmrazor.Digits', split='train', pipeline=[]))
    train, validation = share(0.9, seed=3), share(0.9, seed=3, rest=True)
    assert images(train) | images(validation) == images(whole)
    assert not images(train) & images(validation)
    assert len(train) + len(validation) == len(whole)
    counts = np.bincount(whole.get_gt_labels())
    assert np.bincount(validation.get_gt_labels()).tolist() == (counts // 10).tolist()
    assert images(validation) != images(share(0.9, seed=4, rest=True))
    with pytest.raises(ConfigError, match=r'share=1 of the \d+ images of class 0 leaves none'):
        share(1, rest=True)


def test_labels_belong_to_their_images():
    whole = DATASETS.build(dict(type='mmrazor.Digits', split='train', pipeline=[]))
    labels = {whole[i]['img'].tobytes(): whole[i]['gt_label'] for i in range(len(whole))}
    part = share(0.05)
    assert all(part[i]['gt_label'] == labels[part[i]['img'].tobytes()] for i in range(len(part)))
    assert part.get_gt_labels().tolist() == [part[i]['gt_label'] for i in range(len(part))]


def test_inside_an_in_memory_set():
    inner = dict(
        type='mmrazor.class_share', dataset=dict(type='mmrazor.Digits', split='train'), share=0.02
    )
    dataset = DATASETS.build(dict(type='mmrazor.InMemory', dataset=inner))
    assert len(dataset) == 30 and dataset.images.shape == (30, 3, 32, 32)


@pytest.mark.parametrize('part', [0, -0.5, 1.5])
def test_refused(part):
    with pytest.raises(ConfigError, match=f'share is {part}'):
        share(part)
