"""Every config of a detector or segmenter parses, builds and takes a training step."""

import gc
import re
from pathlib import Path

import pytest
import torch
from dense_networks import ROOT, needs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmrazor.registry import MODELS

pytestmark = pytest.mark.dense

CONFIGS = ROOT / 'configs'
METHODS = ('cankd', 'fgd')
NAME = (
    r'(cankd|fgd)_(retinanet|faster_rcnn|fcos|pspnet|deeplabv3)_[rx]101_(r50|r18|mbv2)'
    r'(_inherit)?(_2x_coco|_80k_cityscapes)'
)
MMDET = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob('*/*_coco.py'))
MMSEG = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob('*/*_cityscapes.py'))
DEPTHS = {'r18': 18, 'r50': 50, 'mbv2': None}
PARTS = {
    'retinanet': ['neck', 'bbox_head'],
    'fcos': ['neck', 'bbox_head'],
    'faster_rcnn': ['neck', 'rpn_head', 'roi_head'],
}


def cases():
    """Every config, each to be skipped where what it needs is missing."""
    for package, names in (('mmdet', MMDET), ('mmseg', MMSEG)):
        for name in names:
            yield pytest.param(name, marks=needs(package), id=name)


def test_what_there_is():
    assert len(MMDET) == 12 and len(MMSEG) == 3
    for name in MMDET + MMSEG:
        assert re.fullmatch(NAME, name.partition('/')[2].removesuffix('.py')), name


def published(package):
    """Every checkpoint that MMDetection or MMSegmentation lists."""
    path, _ = Config._get_cfg_path(f'{package}::_base_/default_runtime.py', '')
    files = Path(path).parents[1].glob('*/metafile.y*ml')
    return {url for file in files for url in re.findall(r'Weights: (\S+)', file.read_text())}


@pytest.mark.parametrize('name', cases())
def test_what_it_says(name):
    cfg = Config.fromfile(CONFIGS / name)
    assert Config.fromstring(cfg.dump(), '.py').model == cfg.model
    assert cfg.custom_imports['imports'] == ['lakd_mm']
    assert cfg.model.teacher_ckpt in published(cfg.default_scope)
    student, teacher = cfg.model.architecture, cfg.model.teacher
    pair = re.search(r'_([rx])101_(\w+?)_', name)
    assert student.backbone.get('depth') == DEPTHS[pair[2]] and teacher.backbone.depth == 101
    assert teacher.backbone.get('groups', 1) == (64 if pair[1] == 'x' else 1)
    method, _, detector = name.partition('/')[2].partition('_')
    parts = next((PARTS[key] for key in PARTS if detector.startswith(key)), [])
    assert cfg.model.get('inherit', []) == (parts if '_inherit' in name or method == 'fgd' else [])
    (transfer,) = cfg.model.transfers.values()
    if cfg.default_scope == 'mmdet':
        assert cfg.train_cfg.max_epochs == 24 and cfg.optim_wrapper.clip_grad.max_norm == 35
        optimizer = cfg.optim_wrapper.optimizer
        assert optimizer.type == 'SGD' and optimizer.weight_decay == 1e-4
        batch = cfg.auto_scale_lr.base_batch_size
        rate = 0.02 if 'faster' in name else 0.01
        assert (optimizer.lr, batch) == ((0.005, 4) if method == 'cankd' else (rate, 16))
        fewer = method == 'cankd' or 'faster' in name
        assert transfer['at'] == (dict(neck=[0, 1, 2, 3]) if fewer else 'neck')
    else:
        assert cfg.train_cfg.max_iters == 80000 and transfer.connector.norm_cfg is None


@pytest.mark.parametrize('name', cases())
def test_builds_and_steps(name, small_config):
    cfg = small_config(name)
    if cfg.get('data_preprocessor'):
        cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    assert model.data_preprocessor._enable_normalize
    model.init_weights()
    for part in cfg.model.get('inherit', []):
        theirs = model.teacher.get_submodule(part).state_dict()
        for key, value in model.student.get_submodule(part).state_dict().items():
            assert torch.equal(value, theirs[key])
    if '_inherit' in name:
        return  # the rest is as in the config that it is made from
    (batch,) = (batch for batch, _ in zip(Runner.build_dataloader(cfg.train_dataloader), [0]))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    log = model.train_step(batch, optim_wrapper=wrapper)
    distilled = {name: value for name, value in log.items() if name.startswith('distill.')}
    (transfer,) = cfg.model.transfers.values()
    levels = transfer['at'].get('neck', [0]) if transfer['at'] != 'neck' else range(5)
    assert len(distilled) == len(levels) and all(value > 0 for value in distilled.values())
    assert log['loss'].isfinite()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert not any(key.startswith('teacher.') for key in changed)
    weights = {
        f'architecture.{key}'
        for key, weight in model.student.named_parameters()
        if weight.requires_grad and weight.ndim == 4
    }
    assert len(weights) > 10 and weights <= changed
    del model, wrapper, before
    gc.collect()


@needs('mmdet')
def test_two_stage_detectors_are_not_in_channels_last_memory(small_config):
    """RoIAlign reads memory as if it were contiguous, whatever the format says."""
    from mmcv.ops import RoIAlign

    images = torch.randn(1, 4, 16, 16)
    rois = torch.tensor([[0.0, 1, 1, 9, 9]])
    align, last = RoIAlign(7), images.contiguous(memory_format=torch.channels_last)
    wrong = not torch.allclose(align(images, rois), align(last, rois))
    model = MODELS.build(small_config('cankd/cankd_faster_rcnn_r101_r50_2x_coco.py').model)
    weight = model.student.backbone.conv1.weight
    assert wrong and not weight.is_contiguous(memory_format=torch.channels_last)
