"""The numbers of the LAKD paper, and what is known to be wrong with them.

Source: Y. Zhang et al., *LAKD: Activation Mapping Distillation Based on Local Learning*, Tables 1
to 5, read from the text of the paper. Accuracies are percent, memory is GB.
"""

from typing import Optional

_PAIRS = (
    'r56_r20',
    'r110_r32',
    'r32x4_r8x4',
    'wrn40_2_wrn16_2',
    'wrn40_2_wrn40_1',
    'vgg13_vgg8',
)


def _row(*values: float) -> dict:
    return {pair: {'accuracy/top1': value} for pair, value in zip(_PAIRS, values)}


def _imagenet(top1: float, top5: float) -> dict:
    return {'r34_r18': {'accuracy/top1': top1, 'accuracy/top5': top5}}


def _ablation(top1: float, percent: Optional[float] = None) -> dict:
    numbers = {'accuracy/top1': top1}
    if percent is not None:
        numbers['extracurricular_knowledge/percent'] = percent
    return {'r56_r20': numbers}


# By target, row and column as in `plan`, and metric.
PAPER = {
    'table1': {
        'teacher': _row(72.34, 74.31, 79.42, 75.61, 75.61, 74.64),
        'scratch': _row(69.06, 71.14, 72.50, 73.26, 71.98, 70.36),
        'kd': _row(70.66, 73.08, 73.33, 74.92, 73.54, 72.98),
        'crd': _row(71.16, 73.48, 75.51, 75.48, 74.14, 73.94),
        'ofd': _row(70.98, 73.23, 74.95, 75.24, 74.33, 73.95),
        'fitnet': _row(69.21, 71.06, 73.50, 73.58, 72.24, 71.02),
        'rkd': _row(69.61, 71.82, 71.90, 73.35, 72.22, 71.48),
        'at': _row(70.55, 72.31, 73.44, 74.08, 72.77, 71.43),
        'cat_kd': _row(71.62, 73.62, 76.91, 75.60, 74.82, 74.65),
        'lakd': _row(72.01, 74.26, 75.72, 75.87, 74.47, 74.45),
    },
    'table2': {
        'teacher': _imagenet(73.31, 91.41),
        'scratch': _imagenet(69.75, 89.07),
        'ofd': _imagenet(70.81, 89.98),
        'crd': _imagenet(71.17, 90.13),
        'kd': _imagenet(70.66, 89.88),
        'at': _imagenet(70.69, 90.01),
        'cat_kd': _imagenet(71.26, 90.45),
        'lakd': _imagenet(71.51, 90.46),
    },
    'table3': {
        'teacher': _ablation(94.18),
        'cat_kd': _ablation(93.2),
        'no_detach_369': _ablation(92.88),
        'detach_369': _ablation(93.08),
        'detach_259': _ablation(93.21),
        'detach_149': _ablation(93.27),
    },
    'table5': {
        'off': _ablation(93.14, 32.82),
        'avg50_max50': _ablation(93.22, 31.61),
        'avg50_max50_no_abs': _ablation(93.27, 31.10),
        'avg25_max75': _ablation(93.39, 35.74),
        'avg25_max75_no_abs': _ablation(93.31, 33.33),
    },
}

# Table 4, by pair and row of tools/benchmarks/memory.py: GB, batch 1024 (CIFAR) and 128 (ImageNet).
MEMORY = {
    'r56_r20': {
        'from scratch': 3.459,
        'CAT-KD': 3.610,
        'FitNet, 3 taps': 3.962,
        'LAKD local [1,4,9]': 2.868,
    },
    'r34_r18': {
        'from scratch': 5.180,
        'CAT-KD': 5.544,
        'FitNet, 4 taps': 6.544,
        'LAKD local [1,2,4,8]': 4.950,
    },
}

# What a reader of the comparison has to know, by target.
NOTES = {
    'table1': (
        'The paper prints 76.61 for WRN-40-2 above WRN-40-1 and 75.61 above WRN-16-2. It is the '
        'same network; 76.61 is a misprint.',
        'The paper says that all methods ran under one configuration. Its numbers of KD, CRD, '
        "FitNet, RKD and AT equal to the digit those of RepDistiller, OFD's those of DKD's paper "
        "and CAT-KD's its own paper's: 240 epochs in steps, no Nesterov momentum, averages or best "
        'epochs of several runs. Only LAKD has the recipe of 300 epochs.',
        'The paper says that LAKD is best "across the majority of architectures"; by its table it '
        'is in 3 of 6.',
    ),
    'table2': (
        "The paper's text speaks of ResNet20 here; the table's caption has ResNet34 and ResNet18.",
    ),
    'table3': (
        'The paper has 93.08 here and 93.14 in its Table 5 for what seems to be the same setting, '
        'taps [3, 6, 9] without activation mapping. Differences of that size are noise.',
    ),
    'table4': (
        'The paper heads the first part CIFAR-10 and says CIFAR-100 in text and caption. It prints '
        '4.3 % for CAT-KD, which is 4.37 %.',
        'The paper names neither the taps nor what else was in memory. Here the local rows with '
        "LAKD's default taps stand beside its number.",
    ),
    'table5': (
        'EK times 582, the errors of a teacher of 94.18 % on the 10,000 test images, is a whole '
        'number in every row: EK was measured on the test set.',
        'The absolute value changes nothing on features that a ReLU has passed, so the rows with '
        'and without it differ by no more than the seeds do where taps lie behind one.',
    ),
    'fig1': ('The paper shows the heat maps without numbers.',),
    'fig5': ('The paper shows the curves without numbers.',),
}


def published(target: str, row: str, column: str, metric: str) -> Optional[float]:
    """The paper's number; None where it has none."""
    return PAPER.get(target, {}).get(row, {}).get(column, {}).get(metric)
