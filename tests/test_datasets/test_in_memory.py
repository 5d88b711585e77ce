import pickle
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS
from mmpretrain.structures import DataSample
from mmrazor.registry import DATASETS, MODELS

from lakd_mm.compat.mmcv_images import skipped
from lakd_mm.datasets import InMemory
from lakd_mm.errors import ConfigError

LOAD = [dict(type='LoadImageFromFile')]


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, told apart by every pixel."""
    init_default_scope('mmpretrain')
    generator = np.random.default_rng(0)
    for name in ('ant', 'bee'):
        (tmp_path / name).mkdir()
        for i in range(3):
            image = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / name / f'{i}.png'), image)
    return dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), pipeline=LOAD)


def dataloader(dataset, **kwargs):
    return Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            **kwargs,
        ),
        seed=3,
    )


def test_batches_are_those_of_the_per_image_path(folder):
    """The same images, labels and order through the stock loader, sampler and preprocessor."""
    pack = [*LOAD, dict(type='PackInputs')]
    one_by_one = dataloader(dict(folder, pipeline=pack), collate_fn=dict(type='default_collate'))
    at_once = dataloader(
        dict(type='mmrazor.InMemory', dataset=folder), collate_fn=dict(type='whole_batch')
    )
    settings = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
    plain = MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', **settings))
    ours = MODELS.build(dict(type='mmrazor.CropFlipDataPreprocessor', **settings))
    for epoch in range(2):
        for loader in (one_by_one, at_once):
            loader.sampler.set_epoch(epoch)
        for expected, found in zip(one_by_one, at_once, strict=True):
            expected, found = plain(expected), ours(found)
            assert torch.equal(expected['inputs'], found['inputs'])
            for e, f in zip(expected['data_samples'], found['data_samples'], strict=True):
                assert torch.equal(e.gt_label, f.gt_label)


def test_it_is_the_data_set(folder):
    dataset = DATASETS.build(dict(type='mmrazor.InMemory', dataset=folder, device='cpu'))
    inner = MMPRETRAIN_DATASETS.build(folder)
    assert len(dataset) == 6 and dataset.metainfo['classes'] == ('ant', 'bee')
    assert dataset.data_root == inner.data_root
    assert dataset.images.dtype == torch.uint8 and dataset.images.shape == (6, 3, 8, 8)
    for i in range(6):
        item = dataset[i]
        expected = torch.from_numpy(inner[i]['img']).permute(2, 0, 1)
        assert torch.equal(item['inputs'], expected)
        assert item['data_samples'].gt_label.item() == i // 3
    batch = dataset.__getitems__([5, 0])
    assert torch.equal(batch['inputs'], dataset.images[[5, 0]])


def test_samples_are_those_of_set_gt_label_and_pickle_alone(folder):
    dataset = DATASETS.build(dict(type='mmrazor.InMemory', dataset=folder, device='cpu'))
    for i, sample in enumerate(dataset.__getitems__(range(6))['data_samples']):
        expected = DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i // 3)
        assert torch.equal(sample.gt_label, expected.gt_label)
        assert sample.gt_label.dtype == torch.int64
        assert (sample.metainfo, sample.keys()) == (expected.metainfo, expected.keys())
        assert sample.__dict__.keys() == expected.__dict__.keys()
        # A batch's labels at most.
        assert len(pickle.dumps(sample)) <= len(pickle.dumps(expected)) + 6 * 8
        assert len(pickle.dumps(dataset[i]['data_samples'])) == len(pickle.dumps(expected))
        sample.set_pred_score(torch.ones(2))
    assert 'pred_score' not in dataset[0]['data_samples']


def test_an_image_takes_its_pixels_and_a_label():
    """No object for each: a million of them would take two gigabytes."""

    class Many:
        metainfo = {}

        def __len__(self):
            return 20000

        def __getitem__(self, index):
            return dict(img=np.full((1, 1, 3), index % 251, np.uint8))

        def get_gt_labels(self):
            return np.arange(20000) % 7

    tracemalloc.start()
    try:
        dataset = InMemory(Many(), device='cpu')
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # NumPy's memory is traced, and so are the pixels.
    assert held < 20000 * (3 + 8) + 20000
    assert dataset.__getitems__([600])['data_samples'][0].gt_label.item() == 600 % 7


def test_an_image_that_cannot_be_read(folder, tmp_path):
    """It is named; if asked, it is left out, and the others keep their labels."""
    (tmp_path / 'ant' / '1.png').write_bytes(b'no image')
    with pytest.raises(ConfigError, match=r"ant/1.png' cannot be read: it is damaged, or no im"):
        DATASETS.build(dict(type='mmrazor.InMemory', dataset=folder))
    before = skipped.value
    folder['pipeline'] = [dict(LOAD[0], ignore_empty=True)]
    dataset = DATASETS.build(dict(type='mmrazor.InMemory', dataset=folder, device='cpu'))
    assert skipped.value == before + 1
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1] and dataset.images.shape == (5, 3, 8, 8)
    names = ('ant/0', 'ant/2', 'bee/0', 'bee/1', 'bee/2')
    for image, name in zip(dataset.images, names, strict=True):
        expected = torch.from_numpy(cv2.imread(str(tmp_path / f'{name}.png'))).permute(2, 0, 1)
        assert torch.equal(image, expected)


def test_one_by_one_another_image_comes_for_one_that_cannot_be_read(folder, tmp_path):
    (tmp_path / 'ant' / '0.png').write_bytes(b'no image')
    (tmp_path / 'ant' / '1.png').unlink()
    before = skipped.value
    folder['pipeline'] = [dict(LOAD[0], ignore_empty=True)]
    dataset = MMPRETRAIN_DATASETS.build(folder)
    (tmp_path / 'ant' / '2.png').unlink()
    found = {dataset[0]['img_path'] for _ in range(3)}
    assert all('bee' in path for path in found) and skipped.value >= before + 3


def test_images_of_other_sizes_are_refused(folder, tmp_path):
    cv2.imwrite(str(tmp_path / 'bee' / '3.png'), np.zeros((9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r'image 6 is uint8 of shape \(9, 8, 3\)'):
        DATASETS.build(dict(type='mmrazor.InMemory', dataset=folder))


def test_mmpretrains_cifar(tmp_path, monkeypatch):
    """From the pickles that MMPretrain's class reads, without a pipeline."""
    monkeypatch.setattr('mmpretrain.datasets.CIFAR100._check_integrity', lambda self: True)
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)
    labels = [3, 1, 4, 1, 5]
    for name, content in (
        ('train', dict(data=pixels, fine_labels=labels)),
        ('test', dict(data=pixels, fine_labels=labels)),
        ('meta', dict(fine_label_names=[str(i) for i in range(100)])),
    ):
        (folder / name).write_bytes(pickle.dumps(content))
    init_default_scope('mmpretrain')
    cfg = dict(type='mmpretrain.CIFAR100', data_root=str(tmp_path), split='train')
    dataset = DATASETS.build(dict(type='mmrazor.InMemory', dataset=cfg))
    batch = dataset.__getitems__([4, 0])
    expected = torch.from_numpy(pixels[[4, 0]].reshape(2, 3, 32, 32))
    assert torch.equal(batch['inputs'], expected)
    assert [int(sample.gt_label) for sample in batch['data_samples']] == [5, 3]
    assert len(dataset.metainfo['classes']) == 100
