"""The package inside projects of others: their scopes, datasets, config styles and tools."""

import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from mmpretrain.apis import ImageClassificationInferencer
from networks import cifar_resnet_cfg

from lakd_mm.engine import export_student

PROJECT = """
import numpy as np
from mmengine.registry import DATASETS as ROOT, Registry
from torch.utils.data import Dataset

DATASETS = Registry('dataset', parent=ROOT, scope='herbs', locations=['herbs'])


@DATASETS.register_module()
class Herbs(Dataset):
    METAINFO = dict(classes=['basil', 'mint'])
    metainfo = METAINFO

    def __init__(self, number, pipeline):
        from mmengine.dataset import Compose
        self.number, self.pipeline = number, Compose(pipeline)

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        image = np.full((32, 32, 3), 255 * (index % 2), dtype=np.uint8)
        return self.pipeline(dict(img=image, gt_label=index % 2, sample_idx=index))
"""
INHERITED = """
_base_ = 'lakd_mm::lakd/lakd_r32_r14_digits.py'
default_scope = 'herbs'
custom_imports = dict(imports=['lakd_mm', 'herbs'], allow_failed_imports=False)
pack = [dict(type='mmpretrain.PackInputs')]
herbs = dict(_delete_=True, type='Herbs', number=32, pipeline=pack)
model = dict(
    architecture=dict(backbone=dict(depth=8), head=dict(num_classes=2)),
    teacher=dict(backbone=dict(depth=14), head=dict(num_classes=2)),
    teacher_ckpt='{teacher}',
    taps=[1, 2, 3],
    teacher_taps=[2, 4, 6],
)
data_preprocessor = dict(num_classes=2)
train_dataloader = dict(batch_size=16, dataset=herbs)
val_dataloader = dict(dataset=herbs)
test_dataloader = dict(dataset=herbs)
train_cfg = dict(max_epochs=1)
"""


# New style: classes, and names that are imported.
BASE = """
from mmengine.hooks import CheckpointHook, LoggerHook

default_hooks = dict(logger=dict(type=LoggerHook, interval=1), checkpoint=dict(type=CheckpointHook))
default_scope = 'mmpretrain'  # as MMPretrain's own
randomness = dict(seed=0)
"""
NEW_STYLE = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmengine.dataset import DefaultSampler
from mmpretrain.datasets import PackInputs
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, GlobalAveragePooling
from mmpretrain.models import ImageClassifier, LinearClsHead
from torch.optim import SGD

from lakd_mm.models import CIFARResNet, LAKD
from herbs import Herbs


def network(depth):
    return dict(
        type=ImageClassifier,
        backbone=dict(type=CIFARResNet, depth=depth),
        neck=dict(type=GlobalAveragePooling),
        head=dict(type=LinearClsHead, num_classes=2, in_channels=64),
    )


model = dict(
    type=LAKD,
    architecture=network(8),
    teacher=network(14),
    teacher_ckpt='teacher/epoch_1.pth',
    taps=[1, 2, 3],
    teacher_taps=[2, 4, 6],
)
del network  # MMEngine would dump it
data_preprocessor = dict(type=ClsDataPreprocessor, mean=[78.0] * 3, std=[96.0] * 3, num_classes=2)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(type=Herbs, number=32, pipeline=[dict(type=PackInputs)]),
    sampler=dict(type=DefaultSampler, shuffle=True),
)
test_dataloader = dict(train_dataloader, sampler=dict(type=DefaultSampler, shuffle=False))
test_evaluator = dict(type=Accuracy)
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""


@pytest.fixture
def herbs(tmp_path, monkeypatch):
    """A folder with a project, on Python's path, and its trained teacher."""
    (tmp_path / 'herbs.py').write_text(PROJECT)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop('herbs', None)
    DATASETS.children.pop('herbs', None)


def write_teacher(folder):
    torch.manual_seed(0)
    state = MODELS.build(cifar_resnet_cfg(14, num_classes=2)).state_dict()
    (folder / 'teacher').mkdir()
    torch.save(dict(state_dict=state), folder / 'teacher/epoch_1.pth')


def test_a_project_inherits_our_config(herbs, tool):
    write_teacher(herbs)
    (herbs / 'lakd.py').write_text(INHERITED.format(teacher='teacher/epoch_1.pth'))
    assert tool('train', 'lakd.py', '--work-dir', 'lakd') is None
    assert tool('test', 'lakd.py', 'lakd/epoch_1.pth') is None
    export_student('lakd', 'student.pth', 'lakd.py')
    inferencer = ImageClassificationInferencer('student.py', 'student.pth')
    (found,) = inferencer(np.zeros((32, 32, 3), dtype=np.uint8))
    assert found['pred_class'] in ('basil', 'mint')


def test_new_style_configs(herbs, tool):
    write_teacher(herbs)
    (herbs / 'base.py').write_text(BASE)
    (herbs / 'new.py').write_text(NEW_STYLE)
    assert tool('train', 'new.py', '--work-dir', 'new') is None
    # What MMEngine dumps is old style: strings.
    assert tool('test', 'new/new.py', 'new/epoch_1.pth') is None
