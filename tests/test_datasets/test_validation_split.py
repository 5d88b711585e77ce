"""The data bases that keep a tenth of the training images to validate on, and their recipe."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, init_default_scope
from mmrazor.registry import DATASETS

import lakd_mm  # noqa: F401

CONFIGS = Path(__file__).parents[2] / 'configs'
BASES = CONFIGS / '_base_' / 'datasets'
SPLITS = ('train', 'val', 'test')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """CIFAR-10 with ten training images and a test image of each class, each of its own colour."""
    monkeypatch.setenv('CIFAR10_ROOT', str(tmp_path))
    colour = 0
    for split, count in (('train', 10), ('test', 1)):
        for label in range(10):
            place = tmp_path / split / f'class{label}'
            place.mkdir(parents=True)
            for i in range(count):
                image = np.full((32, 32, 3), (colour, label, split == 'test'), dtype=np.uint8)
                cv2.imwrite(str(place / f'{i}.png'), image)
                colour += 1
    return tmp_path


def built(name, splits):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(BASES / f'{name}.py')
    return [DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in splits]


def colours(dataset):
    """In the BGR order in which they were written."""
    return [tuple(image[:, 0, 0].flip(0).tolist()) for image in dataset.images]


def test_training_validation_and_test_images(folder):
    train, val, test = built('cifar10_val', SPLITS)
    seen = [colours(dataset) for dataset in (train, val, test)]
    assert [len(images) for images in seen] == [90, 10, 10]
    assert len({colour for images in seen for colour in images}) == 110
    for images, count in zip(seen, (9, 1, 1)):
        labels = [label for _, label, _ in images]
        assert [labels.count(label) for label in range(10)] == [count] * 10
    assert {from_test for images in seen[:2] for _, _, from_test in images} == {0}
    (whole,) = built('cifar10', ['train'])
    assert set(colours(whole)) == {*seen[0], *seen[1]}


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
def test_the_stock_base_reads_the_same_through_mmpretrains_pipeline(folder, name, monkeypatch):
    monkeypatch.setenv('CIFAR100_ROOT', str(folder))
    for label in range(10, 100) if name == 'cifar100' else ():
        for split in ('train', 'test'):
            shutil.copytree(folder / split / 'class9', folder / split / f'class{label}')
    held, stock = (built(base, SPLITS) for base in (name, f'{name}_stock'))
    steps = [[type(t).__name__ for t in dataset.pipeline.transforms] for dataset in stock]
    assert steps[0] == ['RandomCrop', 'RandomFlip', 'PackInputs']
    assert steps[1] == steps[2] == ['PackInputs']
    for ours, theirs in zip(held, stock, strict=True):
        assert len(ours) == len(theirs)
        for i, (image, label) in enumerate(zip(ours.images, ours.labels, strict=True)):
            found = theirs.get_data_info(i)
            assert torch.equal(image, torch.from_numpy(found['img']).permute(2, 0, 1))
            assert label.item() == found['gt_label']
    ours, theirs = (Config.fromfile(BASES / f'{base}.py') for base in (name, f'{name}_stock'))
    assert theirs.data_preprocessor.type == 'mmpretrain.ClsDataPreprocessor'
    assert not ours.data_preprocessor.to_rgb and not theirs.data_preprocessor.to_rgb
    for key in ('mean', 'std', 'num_classes'):
        assert ours.data_preprocessor[key] == theirs.data_preprocessor[key]
    crop = theirs.train_dataloader.dataset.pipeline[0]
    assert (crop.crop_size, crop.padding) == (32, ours.data_preprocessor.padding)
    for split in SPLITS:
        loaders = ours[f'{split}_dataloader'], theirs[f'{split}_dataloader']
        assert loaders[0].batch_size == loaders[1].batch_size
        assert loaders[0].sampler == loaders[1].sampler


def test_the_split_is_of_the_training_images():
    cfg, whole = (Config.fromfile(BASES / f'{name}.py') for name in ('cifar10_val', 'cifar10'))
    assert cfg.test_dataloader == whole.test_dataloader
    assert cfg.val_evaluator == whole.val_evaluator
    rests = []
    for split in ('train', 'val'):
        loader, of_whole = cfg[f'{split}_dataloader'], whole.train_dataloader
        assert loader.dataset.type == 'mmrazor.InMemory'
        assert loader.collate_fn == of_whole.collate_fn
        dataset, inner = loader.dataset.dataset, of_whole.dataset.dataset
        assert (dataset.type, dataset.share, dataset.seed) == ('mmrazor.class_share', 0.9, 0)
        rests.append(dataset.get('rest', False))
        assert dataset.dataset == inner
    assert rests == [False, True]
    assert cfg.train_dataloader.sampler.shuffle and not cfg.val_dataloader.sampler.shuffle


@pytest.mark.parametrize('accuracies, epochs', [(range(30), 30), ([40, 50] + [50] * 9, 7)])
def test_training_stops_where_validation_gains_no_more(accuracies, epochs):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(CONFIGS / 'hmat' / 'hmat_r56cbam_r20_cifar10.py')
    assert cfg.param_scheduler == [] and cfg.train_cfg.max_epochs == 30
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.optim_wrapper.optimizer == dict(
        type='mmrazor.FusedSGD', lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=False
    )
    assert cfg.default_hooks.checkpoint.save_best == 'accuracy/top1'
    (hook,) = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    logger = SimpleNamespace(info=lambda message: None)
    loop = SimpleNamespace(stop_training=False)
    hub = MessageHub.get_instance(f'stops_after_{epochs}')
    runner = SimpleNamespace(train_loop=loop, logger=logger, message_hub=hub)
    ran = 0
    while ran < 30 and not runner.train_loop.stop_training:
        hook.after_val_epoch(runner, {'accuracy/top1': float(accuracies[ran])})
        ran += 1
    assert ran == epochs
