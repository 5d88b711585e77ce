import numpy as np
import pytest
from mmengine.config import Config
from sklearn.datasets import load_digits

import lakd_mm  # noqa: F401
from lakd_mm.datasets import Digits


@pytest.fixture(scope='module')
def train():
    return Digits(split='train', pipeline=[dict(type='PackInputs')])


@pytest.fixture(scope='module')
def test():
    return Digits(split='test', pipeline=[dict(type='PackInputs')], test_mode=True)


def images(dataset):
    return np.stack([dataset.get_data_info(index)['img'] for index in range(len(dataset))])


def test_split_is_stratified_and_complete(train, test):
    scans, labels = load_digits(return_X_y=True)
    assert (len(train), len(test)) == (1442, 355)
    counts = np.bincount(train.get_gt_labels()), np.bincount(test.get_gt_labels())
    assert np.array_equal(counts[0] + counts[1], np.bincount(labels))
    assert np.array_equal(counts[1], np.bincount(labels) // 5)
    # As long as no two scans are the same, a split without overlap keeps all of them distinct.
    distinct = np.unique(scans, axis=0)
    shown = np.concatenate([images(train), images(test)])[:, ::4, ::4, 0].reshape(-1, 64)
    assert len(np.unique(shown, axis=0)) == len(distinct) == 1797


def test_image_is_the_scan(train):
    scans, labels = load_digits(return_X_y=True)
    info = train.get_data_info(0)
    assert info['img'].shape == (32, 32, 3)
    assert info['img'].dtype == np.uint8
    assert info['gt_label'] == labels[0]
    assert np.array_equal(info['img'][::4, ::4, 0], np.rint(scans[0].reshape(8, 8) * 255 / 16))
    assert np.array_equal(info['img'][:4, 12:16, 2], np.full((4, 4), info['img'][0, 12, 0]))


def test_packed_sample(train):
    sample = train[3]
    assert tuple(sample['inputs'].shape) == (3, 32, 32)
    assert sample['data_samples'].gt_label.tolist() == [train.get_data_info(3)['gt_label']]
    assert train.metainfo['classes'] == tuple('0123456789')


def test_unknown_split():
    with pytest.raises(ValueError, match="'train' or 'test', not 'val'"):
        Digits(split='val')


def test_config_statistics(train, root):
    cfg = Config.fromfile(root / 'configs/_base_/datasets/digits.py')
    pixels = images(train).astype(np.float64)
    assert cfg.data_preprocessor.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-3)
    assert cfg.data_preprocessor.std == pytest.approx(pixels.std((0, 1, 2)), abs=1e-3)
    assert cfg.data_preprocessor.num_classes == len(train.metainfo['classes'])
