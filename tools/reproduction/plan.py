"""Which runs a table or a figure needs: those of the LAKD paper, and our own comparisons."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from lakd_mm.errors import ConfigError, near_names

# Teacher and student of each pair, as the configs name them.
PAIRS = {
    'r56_r20': ('resnet56', 'resnet20'),
    'r110_r32': ('resnet110', 'resnet32'),
    'r32x4_r8x4': ('resnet32x4', 'resnet8x4'),
    'wrn40_2_wrn16_2': ('wrn40_2', 'wrn16_2'),
    'wrn40_2_wrn40_1': ('wrn40_2', 'wrn40_1'),
    'vgg13_vgg8': ('vgg13', 'vgg8'),
    'r34_r18': ('resnet34', 'resnet18'),
}
CIFAR100_PAIRS = tuple(pair for pair in PAIRS if pair != 'r34_r18')
# In the order of the paper's Table 1.
METHODS = ('scratch', 'kd', 'crd', 'ofd', 'fitnet', 'rkd', 'at', 'cat_kd', 'lakd')
# LAKD's own recipe and that of the literature: what they add to a config's name, and their folder.
RECIPES = {
    'cifar10': {'300e': ('', '300e'), '240e': ('_240e', '240e')},
    'cifar100': {'300e': ('', '300e'), '240e': ('_240e', '240e')},
    'imagenet': {'300e': ('', '100e'), '240e': ('_step', '100e_step')},
    # One recipe, that of the report on causal masks.
    'cifar10_val': {'300e': ('', '30e')},
}
TABLE3 = {
    'no_detach_369': 'table3_no_detach_taps369',
    'detach_369': 'table3_detach_taps369',
    'detach_259': 'table3_detach_taps259',
    'detach_149': 'table3_detach_taps149',
}
TABLE5 = {
    'off': 'table5_ndam_off',
    'avg50_max50': 'table5_ndam_avg50_max50',
    'avg50_max50_no_abs': 'table5_ndam_avg50_max50_no_abs',
    'avg25_max75': 'table5_ndam_avg25_max75',
    'avg25_max75_no_abs': 'table5_ndam_avg25_max75_no_abs',
}
# The report's five groups, and the last of them under other masks, by their configs.
CAUSAL = {
    'baseline': 'causal_baseline_r20_cifar10',
    'kd': 'causal_kd_r56cbam_r20_cifar10',
    'kd_fa': 'causal_kd_fa_r56cbam_r20_cifar10',
    'kd_at': 'causal_kd_at_r56cbam_r20_cifar10',
    'kd_fa_at': 'causal_kd_fa_at_r56cbam_r20_cifar10',
    'kd_fa_at_no_mask': 'ablations/kd_fa_at_no_mask',
    'kd_fa_at_soft': 'ablations/kd_fa_at_soft',
    'kd_fa_at_integrated_gradients': 'ablations/kd_fa_at_integrated_gradients',
    'kd_fa_at_contrast': 'ablations/kd_fa_at_contrast',
}


# Keys of a config that say where data lie and how they are read, and change no result.
PLACES = ('data_root', 'num_workers', 'persistent_workers', 'pin_memory')


@dataclass(frozen=True)
class Cell:
    """One place of a table: what is trained, or tested, for it.

    Args:
        row (str): The method or setting.
        column (str): The pair of networks.
        name (str): What its runs are called.
        dataset (str): The data set, as ``configs/_base_/datasets`` names it.
        configs (dict): Config files under ``configs`` by recipe, the preferred first.
        kind (str): 'train', 'test' (the teacher, as it is) or 'memory'.
        metrics (tuple): Metrics to measure besides those of the config, keys of
            :data:`run_config.METRICS`.
        changes (tuple): What it changes in its config, as pairs of dotted key and value.
    """

    row: str
    column: str
    name: str
    dataset: str
    configs: dict = field(hash=False)
    kind: str = 'train'
    metrics: tuple = ()
    changes: tuple = ()

    def slug(self, recipe: str) -> str:
        """The folder of a recipe."""
        return RECIPES.get(self.dataset, {}).get(recipe, ('', recipe))[1]


@dataclass(frozen=True)
class Target:
    """A table or a figure: its cells, row by row."""

    name: str
    title: str
    cells: tuple
    metrics: tuple = ('accuracy/top1',)

    @property
    def rows(self) -> list[str]:
        """Methods or settings."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Pairs of networks."""
        return list(dict.fromkeys(cell.column for cell in self.cells))


@dataclass(frozen=True)
class Budget:
    """How much is trained, and how.

    Args:
        recipe (str): '300e', LAKD's, or '240e', the literature's.
        epochs (int, optional): Instead of the recipe's.
        fraction (float, optional): Share of the training images of each class.
        options (tuple): Changes of the config, as pairs of dotted key and value.
    """

    recipe: str = '300e'
    epochs: Optional[int] = None
    fraction: Optional[float] = None
    options: tuple = ()

    @property
    def changes(self) -> tuple:
        """The options that change what is learnt."""
        return tuple(one for one in self.options if one[0].rpartition('.')[2] not in PLACES)

    def slug(self, recipe_slug: str) -> str:
        """The name of the folder of its runs."""
        parts = [recipe_slug]
        if self.epochs is not None:
            parts.append(f'{self.epochs}e')
        if self.fraction is not None:
            parts.append(f'f{self.fraction:g}')
        if self.changes:
            parts.append(f'o{digest(self.changes)[:8]}')
        return '-'.join(parts)


def digest(content: Any) -> str:
    """A short name of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def matrix_cell(method: str, pair: str, dataset: str, **arguments) -> Cell:
    """The cell of a method and a pair, with the names that the configs follow."""
    teacher, student = PAIRS[pair]
    kind = 'train'
    names = {}
    for recipe, (mark, _) in RECIPES[dataset].items():
        if method in ('scratch', 'teacher'):
            network = student if method == 'scratch' else teacher
            names[recipe] = f'teachers/{network}{mark}_{dataset}.py'
        else:
            names[recipe] = f'{method}/{method}_{pair}{mark}_{dataset}.py'
    if method == 'teacher':
        kind = 'test'
    return Cell(method, pair, f'{method}_{pair}', dataset, names, kind, **arguments)


def _matrix(methods: Sequence[str], pairs: Sequence[str], dataset: str) -> tuple:
    return tuple(matrix_cell(method, pair, dataset) for method in methods for pair in pairs)


def _ablations(configs: dict, beside: Sequence[str], metrics: tuple) -> tuple:
    """The rows of an ablation on CIFAR-10; each is measured in every way that one of them needs."""
    cells = [matrix_cell(method, 'r56_r20', 'cifar10', metrics=metrics) for method in beside]
    for row, stem in configs.items():
        names = {'300e': f'lakd/ablations/{stem}.py'}
        cells.append(Cell(row, 'r56_r20', stem, 'cifar10', names, metrics=metrics))
    return tuple(cells)


# The figure's "FitNet aligns each layer individually"; elsewhere it has one hint.
FITNET_AT_STAGES = Cell(
    'fitnet_stages',
    'r56_r20',
    'fitnet_stages_r56_r20',
    'cifar100',
    matrix_cell('fitnet', 'r56_r20', 'cifar100').configs,
    changes=(('model.transfers.loss_fitnet.at', 'stages'),),
)
# CanKD's authors have no classification results; this is our extension.
LAKD_CANKD = Cell(
    'lakd_cankd',
    'r56_r20',
    'lakd_cankd_r56_r20',
    'cifar100',
    {'300e': 'cankd/lakd_cankd_r56_r20_cifar100.py'},
)
ABLATION_METRICS = ('extracurricular_knowledge', 'tap_distance')
TARGETS = {
    target.name: target
    for target in (
        Target('table1', 'CIFAR-100', _matrix(('teacher', *METHODS), CIFAR100_PAIRS, 'cifar100')),
        Target(
            'table2',
            'ImageNet, ResNet-34 to ResNet-18',
            _matrix(
                ('teacher', 'scratch', 'ofd', 'crd', 'kd', 'at', 'cat_kd', 'lakd'),
                ('r34_r18',),
                'imagenet',
            ),
            ('accuracy/top1', 'accuracy/top5'),
        ),
        Target(
            'table3',
            'Where the gradient is cut, CIFAR-10, ResNet-56 → ResNet-20',
            _ablations(TABLE3, ('teacher', 'cat_kd'), ABLATION_METRICS),
        ),
        Target(
            'table4',
            'Memory of a training step',
            tuple(
                Cell('memory', pair, f'memory_{pair}', 'benchmarks', {}, 'memory')
                for pair in ('r56_r20', 'r34_r18')
            ),
            (),
        ),
        Target(
            'table5',
            'Activation mapping (NDAM) at taps [3, 6, 9], CIFAR-10, ResNet-56 → ResNet-20',
            _ablations(TABLE5, (), ABLATION_METRICS),
            ('extracurricular_knowledge/percent', 'accuracy/top1'),
        ),
        Target(
            'fig1',
            'Similarity of layers (CKA) with the teacher, CIFAR-100',
            (
                *_matrix(('lakd', 'cat_kd'), ('r56_r20',), 'cifar100'),
                FITNET_AT_STAGES,
                *_matrix(('kd',), ('r56_r20',), 'cifar100'),
            ),
        ),
        Target(
            'causal',
            'CIFAR-10, on a tenth of the training images that is kept for validation',
            tuple(
                Cell(
                    row,
                    'r56cbam_r20',
                    f'causal_{row}_r56cbam_r20',
                    'cifar10_val',
                    {'300e': f'causal/{stem}.py'},
                )
                for row, stem in CAUSAL.items()
            ),
        ),
        Target(
            'cankd',
            'CIFAR-100, beside LAKD and in its local modules',
            (
                *_matrix(
                    ('teacher', 'scratch', 'cat_kd', 'cankd', 'lakd'), ('r56_r20',), 'cifar100'
                ),
                LAKD_CANKD,
            ),
        ),
        Target(
            'fig5',
            'Distance of each tap from the teacher over the epochs, CIFAR-10',
            _ablations(
                {row: stem for row, stem in TABLE3.items() if row != 'no_detach_369'},
                (),
                ABLATION_METRICS,
            ),
        ),
    )
}


def find_target(name: str) -> Target:
    """Returns the target of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in TARGETS:
        raise ConfigError(
            f'target {name!r}: {near_names(name, TARGETS)} Known: {", ".join(TARGETS)}.'
        )
    return TARGETS[name]


def select(
    target: Target, rows: Optional[Sequence[str]] = None, columns: Optional[Sequence[str]] = None
) -> list[Cell]:
    """Returns the cells of some methods and pairs; all of them by default.

    Raises:
        ConfigError: If the target has no such method or pair.
    """
    for option, chosen, known in (
        ('--methods', rows, target.rows),
        ('--pairs', columns, target.columns),
    ):
        for name in chosen or ():
            if name not in known:
                raise ConfigError(
                    f'{option} {name}: {target.name} has none of that name; '
                    f'{near_names(name, known)} Known: {", ".join(known)}.'
                )
    return [
        cell
        for cell in target.cells
        if (not rows or cell.row in rows) and (not columns or cell.column in columns)
    ]
