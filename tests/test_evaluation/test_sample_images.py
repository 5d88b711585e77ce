import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from lakd_mm.datasets import Digits
from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.sample_images import (
    check_normalization,
    draw_indices,
    inputs_of,
    sample_images,
)

PLAIN = dict(type='mmrazor.Digits', split='test', pipeline=[dict(type='mmpretrain.PackInputs')])
IN_MEMORY = dict(type='mmrazor.InMemory', dataset=dict(PLAIN, pipeline=[]), device='cpu')


def config(dataset, **loader):
    sampler = dict(type='DefaultSampler', shuffle=True)
    return Config(
        dict(test_dataloader=dict(dataset=dataset, num_workers=0, sampler=sampler, **loader))
    )


def drawn(cfg, *arguments):
    batches = list(sample_images(cfg, *arguments))
    indices = [sample.sample_idx for batch in batches for sample in batch['data_samples']]
    return indices, torch.cat([batch['inputs'] for batch in batches]), batches


def test_drawn_once_in_order():
    cfg = config(PLAIN, batch_size=1, drop_last=True)
    indices, images, batches = drawn(cfg, 25, 10, 0)
    assert [len(batch['inputs']) for batch in batches] == [10, 10, 5]
    assert len(set(indices)) == 25 and indices == sorted(indices) and max(indices) > 200
    again = drawn(cfg, 25, 5, 0)
    assert again[0] == indices and torch.equal(again[1], images)
    assert drawn(cfg, 25, 10, 1)[0] != indices
    assert len(drawn(cfg, 1000)[0]) == 355
    # The same ones out of memory.
    in_memory = drawn(config(IN_MEMORY, collate_fn=dict(type='whole_batch')), 25, 10, 0)
    assert in_memory[0] == indices and torch.equal(in_memory[1], images)


TRAIN = dict(
    type='mmrazor.Digits',
    split='train',
    pipeline=[
        dict(type='mmpretrain.RandomCrop', crop_size=32, padding=4),
        dict(type='mmpretrain.PackInputs'),
    ],
)
HELD = dict(type='mmrazor.InMemory', dataset=dict(TRAIN, pipeline=[]), device='cpu')


@pytest.mark.parametrize('test', [PLAIN, IN_MEMORY])
@pytest.mark.parametrize('train', [TRAIN, HELD])
def test_training_images_without_augmentation(train, test):
    cfg = config(test)
    with pytest.raises(ConfigError, match='it has no train_dataloader'):
        sample_images(cfg, 5, split='train')
    collate = 'default_collate' if train is TRAIN else 'whole_batch'
    cfg.train_dataloader = dict(dataset=train, num_workers=0, collate_fn=dict(type=collate))
    images = [batch['inputs'] for batch in sample_images(cfg, 25, 10, split='train')]
    digits = Digits(split='train')
    expected = [digits[int(i)]['img'] for i in draw_indices(len(digits), 25)]
    assert torch.equal(torch.cat(images).permute(0, 2, 3, 1), torch.from_numpy(np.stack(expected)))
    cfg.train_dataloader.dataset = test
    with pytest.raises(ConfigError, match='its training images are its test images'):
        sample_images(cfg, 5, split='train')


def test_inputs_are_normalised_without_touching_the_batch():
    preprocessor = MODELS.build(
        dict(type='mmpretrain.ClsDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
    )
    images = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    batch = dict(inputs=images, data_samples=['untouched'])
    assert torch.equal(inputs_of(batch, preprocessor), torch.full((2, 3, 4, 4), 3.0))
    assert batch['inputs'] is images


def test_mistakes():
    with pytest.raises(ConfigError, match='it has no test_dataloader'):
        sample_images(Config(dict(a=1)), 10)
    with pytest.raises(ConfigError, match='10 images in batches of 0'):
        sample_images(config(PLAIN), 10, 0)


def test_check_normalization():
    build = lambda **k: MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', **k))  # noqa: E731
    numbers = dict(mean=[1.0, 2.0, 3.0], std=[4.0] * 3)
    # The order of the channels is the data's business.
    check_normalization(build(**numbers), build(**numbers, to_rgb=True), 'x')
    for other in (dict(numbers, std=[5.0] * 3), dict(numbers, mean=[1.0] * 3), {}):
        with pytest.raises(ConfigError, match='x was trained on images normalised by'):
            check_normalization(build(**numbers), build(**other), 'x')
