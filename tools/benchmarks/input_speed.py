"""Measure images per second of the input: the per-image pipeline, and images in memory.

This includes crop, flip and normalisation, in this process only, on scikit-learn's digits as 32x32
images, which need no download. The two take turns; results are medians.
"""

import argparse
import statistics
import time
from pathlib import Path

from common import report  # noqa: I001  (it imports lakd_mm first)
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmrazor.registry import MODELS

from lakd_mm.engine.command_line import at_least

NORMALIZE = dict(mean=[128.0] * 3, std=[64.0] * 3)
PER_IMAGE = dict(
    dataset=dict(
        type='mmrazor.Digits',
        pipeline=[
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
    collate_fn=dict(type='default_collate'),
)
IN_MEMORY = dict(
    dataset=dict(type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits')),
    collate_fn=dict(type='whole_batch'),
)


def main():
    """Time epochs of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch-size', type=at_least(1), default=64)
    parser.add_argument('--rounds', type=at_least(1), default=9)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    init_default_scope('mmpretrain')
    pipelines = {
        name: (
            Runner.build_dataloader(
                dict(
                    config,
                    batch_size=args.batch_size,
                    num_workers=0,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                )
            ),
            MODELS.build(dict(type=preprocessor, **NORMALIZE)),
        )
        for name, config, preprocessor in (
            ('per image', PER_IMAGE, 'mmpretrain.ClsDataPreprocessor'),
            ('in memory', IN_MEMORY, 'mmrazor.CropFlipDataPreprocessor'),
        )
    }
    speeds = {name: [] for name in pipelines}
    for _ in range(args.rounds + 1):
        for name, (loader, preprocessor) in pipelines.items():
            start = time.perf_counter()
            for batch in loader:
                preprocessor(batch, training=True)
            speeds[name].append(len(loader.dataset) / (time.perf_counter() - start))
    medians = {name: statistics.median(values[1:]) for name, values in speeds.items()}
    rows = [
        {
            'input': name,
            'images / s': round(median),
            'ms / batch': round(1000 * args.batch_size / median, 2),
            '/ per image': round(median / medians['per image'], 1),
        }
        for name, median in medians.items()
    ]
    report('Speed of the input', rows, args.out, batch=args.batch_size, rounds=args.rounds)


if __name__ == '__main__':
    main()
