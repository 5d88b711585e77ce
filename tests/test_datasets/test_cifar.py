"""CIFAR out of what its root holds."""

import pickle

import cv2
import mmpretrain.datasets
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmrazor.registry import DATASETS

import lakd_mm  # noqa: F401
from lakd_mm.errors import ConfigError

CLASSES = mmpretrain.datasets.CIFAR10.METAINFO['classes']
PIXELS = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 0]


def build(root, kind='CIFAR10', **kwargs):
    init_default_scope('mmpretrain')
    return DATASETS.build(dict(type=f'mmrazor.{kind}', data_root=str(root), pipeline=[], **kwargs))


def write_folders(root, names, split='train'):
    """Images of ``LABELS``, each in its class's folder, in RGB order as the pickles have them."""
    for name in names:
        (root / split / name).mkdir(parents=True)
    for i, label in enumerate(LABELS):
        cv2.imwrite(str(root / split / names[label] / f'{i}.png'), PIXELS[i][..., ::-1])


def write_pickles(root, monkeypatch):
    monkeypatch.setattr('mmpretrain.datasets.CIFAR10._check_integrity', lambda self: True)
    (root / 'cifar-10-batches-py').mkdir()
    for i in range(5):
        part = slice(2 * i, 2 * i + 2)
        data = PIXELS[part].transpose(0, 3, 1, 2).reshape(2, -1)
        content = pickle.dumps(dict(data=data, labels=LABELS[part]))
        (root / 'cifar-10-batches-py' / f'data_batch_{i + 1}').write_bytes(content)


def content(dataset):
    return {(s['img'].tobytes(), s['gt_label']) for s in map(dataset.__getitem__, range(10))}


@pytest.mark.parametrize('layout', ['pickles', 'names', 'numbers', 'pickles and names'])
def test_every_layout_gives_the_same_images_and_labels(tmp_path, monkeypatch, layout):
    if 'pickles' in layout:
        write_pickles(tmp_path, monkeypatch)
    if layout != 'pickles':
        write_folders(tmp_path, list(map(str, range(10))) if layout == 'numbers' else CLASSES)
    dataset = build(tmp_path)
    assert len(dataset) == 10 and dataset.metainfo['classes'] == CLASSES
    assert content(dataset) == {(PIXELS[i].tobytes(), label) for i, label in enumerate(LABELS)}
    assert ('img_path' in dataset[0]) == (layout in ('names', 'numbers'))


def test_folders_of_some_classes_keep_their_labels(tmp_path):
    (tmp_path / 'train' / '2').mkdir(parents=True)
    (tmp_path / 'train' / '10').mkdir()
    for name in ('2', '10'):
        cv2.imwrite(str(tmp_path / 'train' / name / 'a.png'), PIXELS[0])
    assert sorted(build(tmp_path, 'CIFAR100').get_gt_labels()) == [2, 10]


def test_other_names_follow_the_alphabet(tmp_path):
    names = [f'{letter}_class' for letter in 'jihgfedcba']
    write_folders(tmp_path, names)
    dataset = build(tmp_path)
    assert dataset.metainfo['classes'] == tuple(sorted(names))
    assert sorted(dataset.get_gt_labels()) == sorted(9 - label for label in LABELS)


def test_what_is_absent_is_downloaded_as_by_mmpretrain(tmp_path, monkeypatch):
    asked = []

    def download(url, root, filename, md5):
        asked.append(filename)
        write_pickles(tmp_path, monkeypatch)

    monkeypatch.setattr('mmpretrain.datasets.cifar.download_and_extract_archive', download)
    assert len(build(tmp_path)) == 10 and asked == ['cifar-10-python.tar.gz']


@pytest.mark.parametrize(
    'held, kwargs, message',
    [
        (
            ['val/cat'],
            {},
            r'holds val \(looked in .*\); wanted are cifar-10-batches-py/ or cifar-10',
        ),
        (['train/cat'], dict(split='test'), r'holds train .*folders of images, test/<class>/'),
        ([], dict(download=False), 'is empty or does not exist .*variable CIFAR10_ROOT'),
        (['train/cow', 'train/cat'], {}, r'holds 2 folders \(cat, cow…\), and CIFAR10 has 10 cla'),
        (['train'], {}, r'holds 0 folders'),
    ],
)
def test_one_error_says_what_is_wrong(tmp_path, held, kwargs, message):
    for name in held:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **kwargs)


def test_a_broken_image_is_named(tmp_path):
    write_folders(tmp_path, CLASSES)
    (tmp_path / 'train' / 'cat' / '0.png').write_bytes(b'no image')
    with pytest.raises(ConfigError, match=r'OpenCV cannot read \S+cat/0.png'):
        build(tmp_path)
