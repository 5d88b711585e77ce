"""Texts of the configs that new_config.py writes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from .folder import Images
from .networks import Network

WIDTH = 100
EPOCHS, TUNING_EPOCHS = 100, 30
# A teacher with weights learns the new classes at this part of its own learning rate.
TUNING = 0.1


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


def pair_text(
    title: str,
    base: str,
    key: str,
    images: Images,
    size: int,
    held: bool,
    batch_size: int,
    workers: int,
    networks: dict,
    lines: Sequence[str],
    optimizer: Optional[dict],
    student: Network,
) -> str:
    """Write the config of a distillation.

    Args:
        title (str): What it is, for its first line.
        base (str): The base of its method.
        key (str): The method's name there.
        images (Images): The data.
        size (int): Side of the images.
        held (bool): Whether the images are held in memory.
        batch_size (int): Images of a batch.
        workers (int): Processes that load images, where they are not held.
        networks (dict): What the model has beside its method.
        lines (Sequence[str]): Changes of the method.
        optimizer (dict, optional): Keys of ``optim_wrapper``; None for those of the base.
        student (Network): Whose optimizer it is.
    """
    data = 'folder_in_memory' if held else 'folder'
    bases = [
        f'lakd_mm::_base_/{part}.py'
        for part in (
            f'methods/{base}',
            f'datasets/{data}',
            'schedules/imagenet_100e_linear',
            'default_runtime',
        )
    ]
    blocks = [
        f'# {title}.\n{assign("_base_", bases)}',
        (_held_data if held else _read_data)(images, size, batch_size, workers),
        '\n'.join(
            [
                '# Losses weigh what they do on CIFAR-100; tools/tune.py searches other weights.',
                f"model = _base_.pop('methods').{key}",
                f'model.update({source(networks)[5:-1]})',
                *lines,
            ]
        ),
        _training(batch_size, optimizer, student, EPOCHS),
    ]
    return '\n\n'.join(blocks) + '\n'


def teacher_text(
    out: Path, teacher: Network, checkpoint: Optional[str], batch_size: int, factor: float
) -> str:
    """Write the config that trains the teacher of the config ``out``."""
    start, load = '# It starts from random weights.', ''
    if checkpoint:
        start = '# It starts from weights for other classes: all but those of the classifier fit.'
        load = f'load_from = {checkpoint!r}\nload_strict = False\n'
    optimizer = teacher.optim_wrapper(batch_size, factor)
    head = f'# Trains the teacher of {out.name} on the same data, before it.\n'
    return (
        f'{head}{start}\n_base_ = {out.name!r}\n'
        f'model = dict(_delete_=True, **_base_.model.teacher)\n{load}\n{_training(batch_size, optimizer, teacher, epochs_of(checkpoint))}\n'
    )


def epochs_of(checkpoint: Optional[str]) -> int:
    """Return the epochs of a teacher's training."""
    return TUNING_EPOCHS if checkpoint else EPOCHS


def _training(batch_size: int, optimizer: Optional[dict], network: Network, epochs: int) -> str:
    if optimizer is None:
        rate = float(f'{0.1 * batch_size / 128:.2g}')
        whose, written = "ImageNet's", dict(optimizer=dict(lr=rate))
    else:
        whose, written = f'that of {network.name}', dict(_delete_=True, **optimizer)
    return '\n'.join(
        [
            f'# The optimizer is {whose}, its rate in proportion to the batch; it falls to 0.',
            assign('optim_wrapper', written),
            assign('auto_scale_lr', dict(base_batch_size=batch_size)),
            assign('train_cfg', dict(max_epochs=epochs)),
        ]
    )


def _held_data(images: Images, size: int, batch_size: int, workers: int) -> str:
    """Write the data keys for small images."""
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=size),
        dict(type='CenterCrop', crop_size=size),
    ]
    border = max(size // 8, 1)
    train, val = _sets(images)
    return '\n'.join(
        [
            f'# {images.summary()}.',
            *_roots(images),
            assign('load', load),
            "dataset = dict(type='mmpretrain.CustomDataset', pipeline=load)",
            f'train = {train}',
            f'val = {val}',
            f'train_dataloader = dict(batch_size={batch_size}, dataset=dict(dataset=train))',
            'val_dataloader = dict(dataset=dict(dataset=val))',
            'test_dataloader = val_dataloader',
            '# Each is cropped behind a border and may be flipped; flip_prob=0 for text and signs.',
            f'data_preprocessor = dict(padding={border}, flip_prob=0.5)',
        ]
    )


def _read_data(images: Images, size: int, batch_size: int, workers: int) -> str:
    """Write the data keys for images of a size that does not fit into memory."""
    train_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=size),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs'),
    ]
    test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=size * 8 // 7),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]
    train, val = _sets(images, 'train_pipeline', 'test_pipeline')
    options = f'batch_size={batch_size}, num_workers={workers}'
    return '\n'.join(
        [
            f'# {images.summary()}.',
            *_roots(images),
            '# A part of each is cut out, resized, and may be flipped; prob=0 for text and signs.',
            assign('train_pipeline', train_pipeline),
            assign('test_pipeline', test_pipeline),
            "dataset = dict(type='mmpretrain.CustomDataset')",
            f'train = {train}',
            f'val = {val}',
            f'train_dataloader = dict({options}, dataset=train)',
            f'val_dataloader = dict({options}, dataset=val)',
            'test_dataloader = val_dataloader',
        ]
    )


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
