"""Texts of the configs that new_config.py writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .folder import Images
from .networks import Network

WIDTH = 100
EPOCHS, TUNING_EPOCHS = 100, 30
# A teacher with weights learns the new classes at this part of its own learning rate.
TUNING = 0.1
# Of configs/_base_/schedules/imagenet_100e_linear.py.
SGD = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)


def source(value: Any, indent: int = 0, used: int = 0) -> str:
    """Write a value as Python, in lines of at most 100 characters where that can be.

    Args:
        value (Any): Dicts, lists and tuples of what ``repr`` writes.
        indent (int): Spaces before the line.
        used (int): Characters of the line that are taken by what stands around the value.
    """
    if isinstance(value, Mapping):
        named = all(str(key).isidentifier() for key in value)
        before = [f'{key}=' if named else f'{key!r}: ' for key in value]
        items, opening, closing = list(value.values()), *(('dict(', ')') if named else '{}')
    elif isinstance(value, (list, tuple)):
        before, items = [''] * len(value), list(value)
        opening, closing = '[]' if isinstance(value, list) else '()'
    else:
        return repr(value)
    flat = ', '.join(name + source(item, 0, -1000) for name, item in zip(before, items))
    if isinstance(value, tuple) and len(value) == 1:
        flat += ','
    if '\n' not in flat and indent + used + len(flat) + len(opening) + 1 <= WIDTH:
        return f'{opening}{flat}{closing}'
    inner = indent + 4
    lines = [
        f'{" " * inner}{name}{source(item, inner, len(name) + 1)},\n'
        for name, item in zip(before, items)
    ]
    return f'{opening}\n{"".join(lines)}{" " * indent}{closing}'


def assign(name: str, value: Any) -> str:
    """Write an assignment."""
    return f'{name} = {source(value, 0, len(name) + 3)}'


@dataclass(frozen=True)
class Plan:
    """What a distillation's config says."""

    title: str  # For its first line.
    base: str  # That of its method.
    key: str  # The method's name there.
    changes: Sequence[str]  # Lines that change the method.
    networks: dict  # What the model has beside the method.
    images: Images
    size: int  # Side of the images.
    in_memory: bool  # Whether they are held there.
    batch_size: int
    workers: int  # Processes that load images, where they are not held.
    student: Network
    normalization: dict  # What a teacher's weights want otherwise than our base.


def pair_text(plan: Plan) -> str:
    """Write the config of a distillation."""
    bases = [
        f'lakd_mm::_base_/{part}'
        for part in (
            f'methods/{plan.base}.py',
            'datasets/folder_in_memory.py' if plan.in_memory else 'datasets/folder.py',
            'schedules/imagenet_100e_linear.py',
            'default_runtime.py',
        )
    ]
    model = [
        '# Losses weigh what they do on CIFAR-100; tools/tune.py searches other weights.',
        f"model = _base_.pop('methods').{plan.key}",
        f'model.update({source(plan.networks)[5:-1]})',
        *plan.changes,
    ]
    blocks = [
        [f'# {plan.title}.', assign('_base_', bases)],
        [f'# {plan.images.summary()}.', *_roots(plan.images), *_data(plan)],
        model,
        _training(plan.student, plan.batch_size, 1.0, EPOCHS),
    ]
    return _joined(blocks)


def teacher_text(out: Path, teacher: Network, checkpoint: Optional[str], batch_size: int) -> str:
    """Write the config that trains the teacher of the config ``out``."""
    start, load = '# It starts from random weights.', []
    if checkpoint:
        start = '# It starts from weights for other classes: all but those of the classifier fit.'
        load = [f'load_from = {checkpoint!r}', 'load_strict = False']
    model = [
        f'# Trains the teacher of {out.name} on the same data, before it.',
        start,
        f'_base_ = {out.name!r}',
        'model = dict(_delete_=True, **_base_.model.teacher)',
        *load,
    ]
    factor = TUNING if checkpoint else 1.0
    return _joined([model, _training(teacher, batch_size, factor, epochs_of(checkpoint))])


def epochs_of(checkpoint: Optional[str]) -> int:
    """Return the epochs of a teacher's training."""
    return TUNING_EPOCHS if checkpoint else EPOCHS


def _joined(blocks: Sequence[Sequence[str]]) -> str:
    return '\n\n'.join('\n'.join(lines) for lines in blocks) + '\n'


def _training(network: Network, batch_size: int, factor: float, epochs: int) -> list[str]:
    """Write the optimizer and the epochs."""
    wrapper = network.optim_wrapper(batch_size, factor)
    if wrapper is None:
        rate = float(f'{SGD["lr"] * batch_size / 128 * factor:.2g}')
        whose, wrapper = "LAKD's for ImageNet", dict(optimizer=dict(SGD, lr=rate))
    else:
        whose = f'that of {network.name}'
    return [
        f'# The optimizer is {whose}, its rate in proportion to the batch; it falls to 0.',
        # A teacher's config inherits that of the student.
        assign('optim_wrapper', dict(_delete_=True, **wrapper)),
        assign('auto_scale_lr', dict(base_batch_size=batch_size)),
        assign('train_cfg', dict(max_epochs=epochs)),
    ]


def _data(plan: Plan) -> list[str]:
    """Write the data sets and their augmentation."""
    size, batch = plan.size, f'batch_size={plan.batch_size}'
    read, cut = dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=size)
    if plan.in_memory:
        crop = dict(padding=max(size // 8, 1), flip_prob=0.5)
        train, val = _sets(plan.images)
        return [
            assign('load', [read, dict(type='ResizeEdge', scale=size), cut]),
            "dataset = dict(type='mmpretrain.CustomDataset', pipeline=load)",
            f'train = {train}',
            f'val = {val}',
            f'train_dataloader = dict({batch}, dataset=dict(dataset=train))',
            f'val_dataloader = dict({batch}, dataset=dict(dataset=val))',
            'test_dataloader = val_dataloader',
            '# Cropped behind a border, and flipped at random; flip_prob=0 for text and signs.',
            assign('data_preprocessor', dict(crop, **plan.normalization)),
        ]
    larger = dict(type='ResizeEdge', scale=size * 8 // 7)
    change = [dict(type='RandomResizedCrop', scale=size), dict(type='RandomFlip', prob=0.5)]
    train, val = _sets(plan.images, 'train_pipeline', 'test_pipeline')
    wanted = [assign('data_preprocessor', plan.normalization)] if plan.normalization else []
    batch += f', num_workers={plan.workers}'
    return [
        '# A part of each is cut out, resized, and flipped at random; prob=0 for text and signs.',
        assign('train_pipeline', [read, *change, dict(type='PackInputs')]),
        assign('test_pipeline', [read, larger, cut, dict(type='PackInputs')]),
        "dataset = dict(type='mmpretrain.CustomDataset')",
        f'train = {train}',
        f'val = {val}',
        f'train_dataloader = dict({batch}, dataset=train)',
        f'val_dataloader = dict({batch}, dataset=val)',
        'test_dataloader = val_dataloader',
        *wanted,
    ]


def _roots(images: Images) -> list[str]:
    """Write the folders."""
    lines = [f'train_root = {str(images.train)!r}']
    return [*lines, f'val_root = {str(images.val)!r}'] if images.val else lines


def _sets(images: Images, *pipelines: str) -> Iterator[str]:
    """Write the data sets to train and to validate on."""
    for name, pipeline in zip(('train', 'val'), pipelines or ('', '')):
        more = f', pipeline={pipeline}' if pipeline else ''
        root = name if images.val else 'train'
        one = f'dict(dataset, data_root={root}_root{more})'
        if images.val is None:
            # A part of each class validates.
            rest = '' if name == 'train' else ', rest=True'
            one = f"dict(type='mmrazor.class_share', share={images.share}, dataset={one}{rest})"
        yield one
