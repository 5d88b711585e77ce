"""Measure what a cohort saves: its step beside the steps of its members alone.

All take turns, so that other work on the machine slows all of them equally. Results are medians.
"""

import argparse
import statistics
from pathlib import Path

import torch
from common import BF16, CONFIGS, Training, report  # noqa: I001  (it imports lakd_mm first)
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmrazor.registry import MODELS
from step_time import measure

from lakd_mm.engine import cohort_config
from lakd_mm.engine.command_line import at_least
from lakd_mm.models.data_preprocessor import without_crop_flip

MEMBERS = {
    'scratch': 'teachers/resnet20_cifar100.py',
    'kd': 'kd/kd_r56_r20_cifar100.py',
    'fitnet': 'fitnet/fitnet_r56_r20_cifar100.py',
    'cat_kd': 'cat_kd/cat_kd_r56_r20_cifar100.py',
    'lakd': 'lakd/lakd_r56_r20_cifar100.py',
}


class CohortTraining(Training):
    """A cohort of configs, with the batch of a training alone."""

    def __init__(self, alone: Training, options: dict):
        configs = {name: Config.fromfile(CONFIGS / path) for name, path in MEMBERS.items()}
        for cfg in configs.values():
            cfg.merge_from_dict(options)
            if 'teacher' in cfg.model:
                cfg.model.teacher_ckpt = None
        cfg = cohort_config(configs, 'unused')
        torch.manual_seed(0)
        preprocessor = without_crop_flip(cfg.data_preprocessor)
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
        self.model = model.to(get_device()).train()
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.batch = alone.batch


def main():
    """Time the cohort and its members."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch-size', type=at_least(1), default=64)
    parser.add_argument('--rounds', type=at_least(1), default=9)
    parser.add_argument('--amp', choices=['bf16'], help='in mixed precision')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    options = BF16 if args.amp else {}
    trainings: dict[str, Training] = {
        name: Training(path, options, args.batch_size, 32) for name, path in MEMBERS.items()
    }
    trainings['cohort'] = CohortTraining(trainings['scratch'], options)
    seconds = measure(trainings, args.rounds)
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    alone = sum(value for name, value in medians.items() if name != 'cohort')
    medians['sum of members alone'] = alone
    rows = [
        {'step': name, 'ms': round(value, 1), '/ sum of members alone': round(value / alone, 2)}
        for name, value in medians.items()
    ]
    settings = dict(batch=args.batch_size, rounds=args.rounds, dtype=args.amp or 'fp32')
    report('Time of a step of a cohort, ResNet-56 to ResNet-20', rows, args.out, **settings)


if __name__ == '__main__':
    main()
