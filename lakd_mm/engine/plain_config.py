"""The config of a distillation's student alone, for MMPretrain."""

from collections.abc import Sequence
from typing import Any, Optional

from mmengine import hub
from mmengine.config import Config
from torch import nn

from ..compat.dense import EXTRAS
from ..errors import ConfigError
from ..models.data_preprocessor import without_crop_flip
from ..models.nested import map_dicts, type_name

# Our classes read folders too; MMPretrain's read the published files.
_CIFAR = {f'mmrazor.{name}': f'mmpretrain.{name}' for name in ('CIFAR10', 'CIFAR100')}


def plain_config(cfg: Config) -> Config:
    """Write a config to test the student with MMPretrain, MMDetection or MMSegmentation.

    It describes a plain network with its data preprocessor, and the test data if there are any. It
    needs no base config, and ``lakd_mm`` and MMRazor only if the student or the test data come from
    this package. It leaves out metrics of MMRazor's registry, which need the distillation.

    Raises:
        ConfigError: If the model is not a distillation.
    """
    if 'architecture' not in cfg.model:
        raise ConfigError(
            f'{cfg.filename or "the config"}: model is a {cfg.model.get("type")}, which has no '
            f'student (model.architecture)'
        )
    cfg = cfg.to_dict()
    scope = cfg.get('default_scope')
    scope = scope if scope in EXTRAS else 'mmpretrain'
    test = _dense_test_keys(cfg) if scope in EXTRAS else _test_keys(cfg)
    plain = _without_scope(dict(default_scope=scope, model=_student(cfg), **test), scope)
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    needed = [name for name in imports if name.partition('.')[0] not in ('lakd_mm', 'mmrazor')]
    if any(name.startswith('mmrazor.') for name in _types(plain)):
        needed.append('lakd_mm')
    if needed:
        plain['custom_imports'] = dict(imports=needed, allow_failed_imports=False)
    return Config(plain)


def note_on_colours(cfg: Config, channels: int) -> Optional[str]:
    """Return a note for users of image files, if the test data are arrays in RGB order."""
    pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    preprocessor = cfg.model.get('data_preprocessor', {})
    reads = any(type_name(step) == 'LoadImageFromFile' for step in pipeline)
    if not pipeline or reads or preprocessor.get('to_rgb') or channels != 3:
        return None
    return (
        'The test data are arrays in RGB order; image files are read in BGR order: for files use '
        'ImageClassificationInferencer(…, data_preprocessor=dict(to_rgb=True)).'
    )


def image_shape(cfg: Config, network: nn.Module) -> tuple[int, int, int]:
    """Find the shape (C, H, W) of the images of a classifier, or of a distillation's student.

    The size comes from the last crop or resize of the test pipeline, else from the model's
    ``input_shape``; the default is 32x32, as everywhere in this project. Channels are those of
    ``input_shape``, else of the network's first convolution.
    """
    channels, *shape = _input_shape(cfg.model, network)
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    for step in reversed(loader.get('dataset', {}).get('pipeline', [])):
        size = step.get('crop_size') or step.get('scale')
        if size:
            height, width = (size, size) if isinstance(size, int) else reversed(tuple(size))
            return channels, height, width
    return channels, *shape


def _input_shape(model: Any, network: nn.Module) -> Sequence[int]:
    """Return the ``input_shape`` of a distillation, or else one that the network's layers take."""
    while 'architecture' in model:
        if 'input_shape' in model:
            return model['input_shape']
        model = model['architecture']
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return getattr(next(convolutions, None), 'in_channels', 3), 32, 32


def _student(cfg: dict) -> dict:
    """Return the student's config, with the data preprocessor that the algorithm uses."""
    model = cfg['model']
    while 'architecture' in model:
        model = model['architecture']
    if 'cfg_path' in model and 'type' not in model:
        base = hub.get_config(model['cfg_path']).to_dict()
        defaults = {key: model[key] for key in model.keys() - {'cfg_path', 'pretrained'}}
        model = {**defaults, **base['model']}
        if base.get('data_preprocessor'):
            model['data_preprocessor'] = base['data_preprocessor']
    model = {key: value for key, value in model.items() if key != 'train_cfg'}
    model = _without_pretrained(model)
    candidates = (cfg['model'].get('data_preprocessor'), cfg.get('data_preprocessor'))
    preprocessor = next(filter(None, (*candidates, model.get('data_preprocessor'))), None)
    if preprocessor:
        preprocessor = without_crop_flip(preprocessor)
        preprocessor.pop('batch_augments', None)
        model['data_preprocessor'] = preprocessor
    return model


def _test_keys(cfg: dict) -> dict:
    """Return the keys for testing: data, metrics, and the hook for MMPretrain's test tool."""
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not loader:
        return {}
    dataset = loader['dataset']
    if dataset.get('type') == 'mmrazor.InMemory':
        # Read the images one by one again, as from any data set.
        dataset = dataset['dataset']
        steps = [*dataset.get('pipeline', []), dict(type='PackInputs')]
        dataset = dict(dataset, pipeline=steps)
        loader = dict(loader, dataset=dataset, collate_fn=dict(type='default_collate'))
    if dataset.get('type') in _CIFAR:
        # As published: images in folders have another order of colours, see note_on_colours.
        loader = dict(loader, dataset=dict(dataset, type=_CIFAR[dataset['type']]))
    metrics = cfg.get('test_evaluator') or cfg.get('val_evaluator') or []
    metrics = [metrics] if isinstance(metrics, dict) else metrics
    metrics = [one for one in metrics if not str(one.get('type')).startswith('mmrazor.')]
    return dict(
        test_dataloader=loader,
        test_evaluator=metrics or [dict(type='Accuracy', topk=(1, 5))],
        test_cfg=dict(),
        default_hooks=dict(visualization=dict(type='VisualizationHook', enable=False)),
        visualizer=dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
    )


def _dense_test_keys(cfg: dict) -> dict:
    """Return the keys for testing a detector or segmenter, whose own config has all of them."""
    # MMSegmentation's inference reads test_pipeline.
    names = ('test_dataloader', 'test_evaluator', 'test_cfg', 'test_pipeline', 'visualizer')
    keys = {name: cfg[name] for name in names if cfg.get(name) is not None}
    hook = cfg.get('default_hooks', {}).get('visualization')
    return {**keys, 'default_hooks': dict(visualization=hook)} if hook else keys


def _without_pretrained(value: Any) -> Any:
    """Drop the checkpoints from which training started, wherever they are in the config."""

    def change(part: dict) -> dict:
        part = {k: v for k, v in part.items() if k != 'init_cfg' or 'Pretrained' not in str(v)}
        # TIMMBackbone and others would download them.
        return {k: v for k, v in part.items() if k != 'pretrained' or 'type' not in part}

    return map_dicts(change, value)


def _without_scope(value: Any, scope: str) -> Any:
    """Drop ``_scope_`` where it equals the default, and replace MMPretrain's old name."""

    def change(part: dict) -> dict:
        if part.get('_scope_') == 'mmcls':
            part['_scope_'] = 'mmpretrain'
        if part.get('_scope_') == scope:
            part.pop('_scope_')
        if str(part.get('type')).startswith('mmcls.'):
            part['type'] = part['type'].replace('mmcls.', 'mmpretrain.', 1)
        return part

    return map_dicts(change, value)


def _types(value: Any) -> list[str]:
    """Return every ``type`` in nested dicts and lists."""
    found: list = []
    map_dicts(lambda part: found.append(part.get('type')) or part, value)
    return [name for name in found if isinstance(name, str)]
