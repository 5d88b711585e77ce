"""Writes every config outside ``configs/_base_`` from the tables of config_tables.py.

    python tools/dev/write_configs.py

A config that no table gives is reported, not deleted; tests/test_write_configs.py compares.
"""

from pathlib import Path

import config_tables as tables

CONFIGS = Path(__file__).parents[2] / 'configs'


def config(bases: list, *parts: list) -> str:
    """The text of a config: its bases, then groups of lines."""
    lines = ['_base_ = [', *(f"    '{base}'," for base in bases), ']']
    if len(bases) == 1:
        lines = [f"_base_ = '{bases[0]}'"]
    body = [line for part in parts for line in part]
    return '\n'.join([*lines, *([''] if body else []), *body, ''])


def call(name: str, arguments: list) -> list:
    """The lines of ``name(…)`` with each argument on its own."""
    return [f'{name}(', *(f'    {line}' for line in arguments), ')']


def dict_of(start: str, parts: list, end: str, indent: int) -> list:
    """The lines of ``start dict(parts) end``, broken as ruff breaks what is too long."""
    inside = ', '.join(parts)
    lines = [f'{start}dict({inside}){end}']
    if indent + len(lines[0]) > 100:
        fits = indent + 4 + len(inside) <= 100
        inner = [inside] if fits else [f'{part},' for part in parts]
        lines = [f'{start}dict(', *(f'    {line}' for line in inner), f'){end}']
    return lines


def bases_of(recipe: str, *first: str) -> list:
    """The bases of a classifier's config."""
    data, schedule, _ = tables.RECIPES[recipe]
    names = (*first, f'datasets/{data}', f'schedules/{schedule}', 'default_runtime')
    return [name if '::' in name else f'../_base_/{name}.py' for name in names]


def network(name: str, recipe: str) -> list:
    """The arguments of a model that differ from its base's."""
    base, backbone, head = tables.NETWORKS[name]
    if recipe.endswith(('cifar10', 'digits')) and '::' not in base:
        head = ', '.join(filter(None, ['num_classes=10', head]))
    parts = [('backbone', backbone), ('head', head)]
    return [f'{key}=dict({value})' for key, value in parts if value]


def training(name: str, recipe: str) -> str:
    """The config of a network without a teacher."""
    base, changes = tables.NETWORKS[name][0], network(name, recipe)
    bases = bases_of(recipe, base if '::' in base else f'models/{base}_cifar')
    model = dict_of('model = ', changes, '', 0) if changes else []
    own = tables.OF_FAMILY.get(base, {}).get(recipe, [])
    return config(bases, model, tables.RECIPES[recipe][2], own)


def teachers() -> dict:
    """Trainings without a teacher."""
    return {
        f'teachers/{name.removesuffix("_cifar")}_{recipe}.py': training(name, recipe)
        for recipe, names in tables.TRAININGS.items()
        for name in names
    }


def pair_model(pair: str) -> tuple:
    """A comment on the teacher of a pair, and the arguments that name its networks."""
    teacher, student, checkpoint = tables.PAIRS[pair]
    data = pair.rpartition('_')[2]
    of_teacher = network(teacher, data)
    if tables.NETWORKS[teacher][0] != tables.NETWORKS[student][0]:
        backbone, head = tables.OTHER_FAMILY[teacher]
        of_teacher = [f'backbone=dict({backbone})', f'head=dict({head})']
    if checkpoint.endswith('.pt'):
        path = [f"teacher_ckpt='{tables.PUBLISHED}'", f"'{checkpoint}',"]
        note = []
    else:
        stem = f'{teacher.removesuffix("_cifar")}_{checkpoint}'
        path = [f"teacher_ckpt='work_dirs/{stem}/epoch_{tables.EPOCHS[checkpoint]}.pth',"]
        note = [f'# Train the teacher first: teachers/{stem}.py.']
    architecture = dict_of('architecture=', network(student, data), ',', 4)
    return note, [*architecture, *dict_of('teacher=', of_teacher, ',', 4), *path]


def distillation(method: str, pair: str, recipe: str, base: str, changes: list, own: list) -> str:
    """The config of a classifier's distillation.

    Args:
        method (str): Its name in its base.
        pair (str): A key of ``PAIRS``.
        recipe (str): A key of ``RECIPES``.
        base (str): The base of the method.
        changes (list): Lines that change the method, behind its own.
        own (list): Arguments of the model besides its networks.
    """
    family = None
    if tables.PAIRS[pair] is None:
        first, note, arguments = f'pairs/{pair}', [], []
    else:
        family = tables.NETWORKS[tables.PAIRS[pair][1]][0]
        first = f'models/{family}_pair'
        note, arguments = pair_model(pair)
    model = [*note, f"model = _base_.pop('methods').{method}", *changes]
    if arguments or own:
        model += call('model.update', [*arguments, *own])
    bases = bases_of(recipe, first, f'methods/{base}')
    of_family = tables.OF_FAMILY.get(family, {}).get(recipe, [])
    return config(bases, model, own_lines(method, recipe), of_family)


def own_lines(method: str, recipe: str) -> list:
    """What a recipe adds to a config, or what a method has in its place."""
    if recipe == 'step_imagenet' and method in tables.STEP_IMAGENET:
        return tables.STEP_IMAGENET[method]
    return tables.RECIPES[recipe][2]


def matrix() -> dict:
    """Methods by pairs by recipes."""
    written = {}
    for method, (pairs, base) in tables.METHODS.items():
        for pair in pairs:
            networks, _, data = pair.rpartition('_')
            changes, own = [], []
            if method == 'lakd':
                taps, teacher_taps = tables.TAPS[networks]
                changes = [f'model.attention_loss.update({tables.CAT_LOSS[networks]})']
                own = [f'taps={taps},', f'teacher_taps={teacher_taps},']
                if data == 'imagenet':
                    own = [
                        '# By shape, so that the third stage is not aligned (our reading).',
                        *own,
                    ]
                    own += ['# Memory peaks in the stem.', 'teacher_twice=True,']
            elif method == 'cat_kd':
                loss = tables.CAT_LOSS[networks]
                changes = [f'model.transfers.loss_cat.loss.update({loss})']
            elif data == 'imagenet':
                changes = tables.IMAGENET.get(method, [])
            else:
                changes = tables.PAIR_CHANGES.get((method, networks), [])
            for recipe in tables.RECIPES:
                if (
                    recipe.endswith(data)
                    and recipe.rpartition('_')[2] == data
                    and '30e' not in recipe
                ):
                    stem = f'{method}_{networks}_{recipe}'
                    text = distillation(method, pair, recipe, base, changes, own)
                    written[f'{method}/{stem}.py'] = text
    return written


def masked() -> dict:
    """Causal masks and HMAT under the report's recipe."""
    written = {}
    for pair in tables.CBAM_PAIRS:
        networks, _, data = pair.rpartition('_')
        for group in tables.CAUSAL_GROUPS:
            text = distillation(f'causal_{group}', pair, '30e_cifar10', 'classification', [], [])
            written[f'causal/causal_{group}_{pair}.py'] = text
        hmat = 'hmat_4_stages' if tables.PAIRS[pair] is None else 'hmat'
        text = distillation(hmat, pair, '30e_cifar10', 'classification', [], [])
        written[f'hmat/hmat_{pair}.py'] = text
    for short, name in tables.CAUSAL_BASELINES.items():
        text = '# The student from scratch, under the same recipe.\n' + training(
            name, '30e_cifar10'
        )
        written[f'causal/causal_baseline_{short}_cifar10.py'] = text
    return written


def ablations() -> dict:
    """What inherits from a config of the matrix."""
    written = {}
    for group in tables.CAUSAL_GROUPS[1:]:
        parent = [f'../causal_{group}_r56cbam_r20_cifar10.py']
        losses = [f'loss_{part}' for part in group.split('_')[1:]]
        changes = ', '.join(f'{loss}=dict(mask=mask)' for loss in losses)
        for name, mask in tables.CAUSAL_ABLATIONS.items():
            lines = [f'mask = {mask}', f'model = dict(transfers=dict({changes}))']
            written[f'causal/ablations/{group}_{name}.py'] = config(parent, lines)
        contrast = [
            'loss_contrast = dict(',
            f'    _base_.model.transfers.{losses[0]},',
            *(f'    {line}' for line in tables.CONTRAST),
            ')',
            'model = dict(transfers=dict(loss_contrast=loss_contrast))',
        ]
        written[f'causal/ablations/{group}_contrast.py'] = config(parent, contrast)
    for name, (note, taps, weights, more) in tables.LAKD_ABLATIONS.items():
        model = [f'taps={taps},', f'feature_loss=dict({weights}),', *more]
        text = config(['../lakd_r56_r20_cifar10.py'], [note, *call('model = dict', model)])
        written[f'lakd/ablations/{name}.py'] = text
    for data in ('cifar10', 'cifar100'):
        text = config([f'../lakd/lakd_r56_r20_{data}.py'], tables.LAKD_CANKD)
        written[f'cankd/lakd_cankd_r56_r20_{data}.py'] = text
    for recipe in ('cifar100', '240e_cifar100'):
        text = config([f'./kd_r56_r20_{recipe}.py'], tables.ENSEMBLE)
        written[f'kd/kd_ensemble_r56_r44_r20_{recipe}.py'] = text
    return written


def dense(bases: list, method: str, teacher: list, checkpoint: list, size: int, *more) -> str:
    """The config of a detector or segmenter."""
    folder, subfolder, file = checkpoint
    path = [f"teacher_ckpt='{tables.OPENMMLAB}{folder}/'", f"'{subfolder}/'", f"'{file}',"]
    arguments = ['_delete_=True,', 'architecture=_base_.model,', *teacher, *path]
    arguments += [f'input_shape=(3, {size}, {size}),']
    model = [f"model = _base_.pop('methods').{method}", *call('model.update', arguments)]
    bases = [*bases, '../_base_/methods/dense.py', '../_base_/dense_runtime.py']
    return config(bases, model, *more)


def detectors() -> dict:
    """CanKD and FGD in MMDetection."""
    written = {}
    for pair, (student, kind, checkpoint, parts) in tables.DETECTORS.items():
        bases = [f'mmdet::{student}']
        # The trial run's images are large enough for a pooling of the smallest map.
        backbone = f'_base_.model.backbone, {kind}depth=101, init_cfg=None'
        teacher = call('teacher=dict', ['_base_.model,', *dict_of('backbone=', [backbone], ',', 8)])
        teacher[-1] += ','
        common = (teacher, checkpoint, 128)
        heads = '' if parts[1:] == ['bbox_head'] else f'model.inherit = {parts}'
        fgd = [*tables.FGD.get(pair, []), *filter(None, [heads])]
        optimizer = ['optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))']
        written[f'fgd/fgd_{pair}_2x_coco.py'] = dense(bases, 'fgd', *common, fgd, optimizer)
        stem = f'cankd_{pair}_2x_coco.py'
        written[f'cankd/{stem}'] = dense(bases, 'cankd_neck', *common, tables.CANKD_OPTIMIZER)
        inherit = [f'model = dict(inherit={parts})']
        written[f'cankd/cankd_{pair}_inherit_2x_coco.py'] = config([f'./{stem}'], inherit)
    return written


def segmenters() -> dict:
    """CanKD in MMSegmentation."""
    written = {}
    for pair, (student, backbone, channels, *checkpoint, more) in tables.SEGMENTERS.items():
        teacher = [
            'teacher=dict(',
            '    _base_.model,',
            '    pretrained=None,',
            *(f'    {line}' for line in backbone),
            f'    decode_head=dict(_base_.model.decode_head, in_channels=2048{channels[0]}),',
            f'    auxiliary_head=dict(_base_.model.auxiliary_head, in_channels=1024{channels[1]}),',
            '),',
        ]
        text = dense([f'mmseg::{student}'], 'cankd_backbone', teacher, checkpoint, 64, more)
        written[f'cankd/cankd_{pair}_80k_cityscapes.py'] = text
    return written


def all_configs() -> dict:
    """The text of every config by its path under ``configs``."""
    parts = (teachers, matrix, masked, ablations, detectors, segmenters)
    return {path: text for part in parts for path, text in part().items()}


def unknown(written: dict, folder: Path = CONFIGS) -> list:
    """Configs that lie in the folder and that no table gives."""
    paths = (path.relative_to(folder) for path in folder.rglob('*.py'))
    return sorted(
        p.as_posix() for p in paths if p.parts[0] != '_base_' and p.as_posix() not in written
    )


def main() -> None:
    """Writes the configs, and names those that are in no table."""
    written = all_configs()
    for path, text in written.items():
        (CONFIGS / path).parent.mkdir(parents=True, exist_ok=True)
        (CONFIGS / path).write_text(text, encoding='utf-8')
    print(f'{len(written)} configs')
    if unknown(written):
        raise SystemExit('error: no table gives ' + ', '.join(unknown(written)) + '; delete them')


if __name__ == '__main__':
    main()
