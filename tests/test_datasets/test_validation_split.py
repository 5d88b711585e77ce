"""The data bases that keep a tenth of the training images to validate on, and their recipe."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
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


def colours(dataset, in_memory):
    if in_memory:
        return [tuple(image[:, 0, 0].tolist()) for image in dataset.images]
    # The first step of the pipeline reads; a crop may move black to the corner.
    images = (dataset.pipeline.transforms[0](dataset.get_data_info(i)) for i in range(len(dataset)))
    return [tuple(sample['img'][0, 0].tolist()) for sample in images]


@pytest.mark.parametrize('suffix', ['_folder', '_folder_in_memory'])
def test_training_validation_and_test_images(folder, suffix):
    in_memory = 'memory' in suffix
    train, val, test = built(f'cifar10_val{suffix}', SPLITS)
    seen = [colours(dataset, in_memory) for dataset in (train, val, test)]
    assert [len(images) for images in seen] == [90, 10, 10]
    assert len({colour for images in seen for colour in images}) == 110
    for images, count in zip(seen, (9, 1, 1)):
        labels = [label for _, label, _ in images]
        assert [labels.count(label) for label in range(10)] == [count] * 10
    assert {from_test for images in seen[:2] for _, _, from_test in images} == {0}
    (whole,) = built(f'cifar10{suffix}', ['train'])
    assert set(colours(whole, in_memory)) == {*seen[0], *seen[1]}
    if not in_memory:
        steps = [[type(t).__name__ for t in d.pipeline.transforms] for d in (train, val, test)]
        assert steps[0] == ['LoadImageFromFile', 'RandomCrop', 'RandomFlip', 'PackInputs']
        assert steps[1] == steps[2] == ['LoadImageFromFile', 'PackInputs']


@pytest.mark.parametrize('suffix', ['', '_in_memory'])
def test_the_same_split_of_the_pickles(suffix):
    cfg, whole = (
        Config.fromfile(BASES / f'{name}{suffix}.py') for name in ('cifar10_val', 'cifar10')
    )
    assert cfg.test_dataloader == whole.test_dataloader
    assert cfg.val_evaluator == whole.val_evaluator
    rests = []
    for split in ('train', 'val'):
        loader, of_whole = cfg[f'{split}_dataloader'], whole.train_dataloader
        dataset, inner = loader.dataset, of_whole.dataset
        if suffix:
            assert dataset.type == 'mmrazor.InMemory' and loader.collate_fn == of_whole.collate_fn
            dataset, inner = dataset.dataset, inner.dataset
        assert (dataset.type, dataset.share, dataset.seed) == ('mmrazor.class_share', 0.9, 0)
        rests.append(dataset.get('rest', False))
        pipeline = whole[f'{split}_dataloader'].dataset.get('pipeline', inner.pipeline)
        assert dataset.dataset == dict(inner, pipeline=pipeline)
    assert rests == [False, True]
    assert cfg.train_dataloader.sampler.shuffle and not cfg.val_dataloader.sampler.shuffle


@pytest.mark.parametrize('accuracies, epochs', [(range(30), 30), ([40, 50] + [50] * 9, 7)])
def test_training_stops_where_validation_gains_no_more(accuracies, epochs):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(CONFIGS / 'hmat' / 'hmat_r56cbam_r20_cifar10.py')
    assert cfg.param_scheduler == [] and cfg.train_cfg.max_epochs == 30
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=False
    )
    assert cfg.default_hooks.checkpoint.save_best == 'accuracy/top1'
    (hook,) = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    logger = SimpleNamespace(info=lambda message: None)
    runner = SimpleNamespace(train_loop=SimpleNamespace(stop_training=False), logger=logger)
    ran = 0
    while ran < 30 and not runner.train_loop.stop_training:
        hook.after_val_epoch(runner, {'accuracy/top1': float(accuracies[ran])})
        ran += 1
    assert ran == epochs
