"""Distillation of what a detector is, as far as it needs no MMDetection."""

import pytest
import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg
from torch import nn

from lakd_mm.models.losses import CanKDLoss
from lakd_mm.models.places.probe import reads_memory_as_contiguous

LEVELS = (0, 1, 2)
CANKD = dict(loss=dict(type='mmrazor.CanKDLoss', loss_weight=1.0), at='neck')
FGD = dict(loss=dict(type='mmrazor.FGDLoss'), at='neck')
head_runs = []


class Backbone(BaseModule):
    def __init__(self, width):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())

    def forward(self, images):
        first = self.layer1(images)
        return first, self.layer2(first)


class Neck(BaseModule):
    """Three levels, as an FPN's: two laterals and one more that is pooled."""

    def __init__(self, width, channels, num_outs):
        super().__init__()
        self.num_outs = num_outs
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in range(2))

    def forward(self, features):
        levels = [conv(feature) for conv, feature in zip(self.convs, features)]
        while len(levels) < self.num_outs:
            levels.append(nn.functional.max_pool2d(levels[-1], 1, 2))
        return tuple(levels)


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, levels):
        head_runs.append(len(levels))
        return [self.conv(level) for level in levels]


class Detector(BaseModel):
    """Has a loss for each level; with ``roi_head`` it runs on data samples only."""

    def __init__(self, width=4, channels=6, num_outs=3, roi_head=False):
        super().__init__()
        self.backbone = Backbone(width)
        self.neck = Neck(width, channels, num_outs)
        self.bbox_head = Head(channels)
        if roi_head:
            self.roi_head = nn.Conv2d(channels, 1, 1)

    def extract_feat(self, images):
        return self.neck(self.backbone(images))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if hasattr(self, 'roi_head'):
            assert data_samples is not None
        scores = self.bbox_head(self.extract_feat(inputs))
        if mode == 'loss':
            return dict(loss_cls=[s.square().mean() for s in scores], acc=scores[0].mean())
        return scores


@pytest.fixture
def make(build):
    def _make(student=None, teacher=None, **kwargs):
        torch.manual_seed(3)
        student, teacher = Detector(**(student or {})), Detector(**dict(width=8, **(teacher or {})))
        cfg = dict(type='mmrazor.Distill', architecture=student, teacher=teacher)
        return build(dict(dict(cfg, transfers=dict(loss_cankd=CANKD)), **kwargs))

    return _make


def images_and_boxes(box=(4.0, 4.0, 20.0, 12.0)):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    samples = [DataSample(metainfo=dict(img_shape=(32, 32))) for _ in range(2)]
    for sample in samples:
        sample.gt_instances = InstanceData(bboxes=torch.tensor([box]))
    return images, samples


def test_levels_are_compared_and_lists_of_losses_weighed(make):
    model = make(ce_weight=2.0)
    images, samples = images_and_boxes()
    model.teacher.eval()
    losses = model.loss(images, samples)
    student, teacher = model.student.extract_feat(images), model.teacher.extract_feat(images)
    for level in LEVELS:
        loss = model.distiller.distill_losses[f'loss_cankd{level + 1}']
        assert type(loss) is CanKDLoss
        found = losses[f'distill.loss_cankd{level + 1}']
        torch.testing.assert_close(found, loss(student[level], teacher[level]))
    task = model.student(images, samples, mode='loss')
    for found, plain in zip(losses['student.loss_cls'], task['loss_cls']):
        torch.testing.assert_close(found, 2 * plain)
    torch.testing.assert_close(losses['student.acc'], task['acc'])


def test_chosen_levels(make):
    model = make(transfers=dict(loss_cankd=dict(CANKD, at=dict(neck=[2, 0]))))
    records = model.distiller.loss_forward_mappings
    assert [r['s_feature']['data_idx'] for r in records.values()] == [2, 0]


def test_a_step_trains_the_student_alone(make):
    model = make(transfers=dict(loss_cankd=CANKD, loss_fgd=FGD))
    images, samples = images_and_boxes()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    log = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    parts = {f'distill.loss_{m}{i + 1}' for m in ('cankd', 'fgd') for i in LEVELS}
    assert parts | {'student.loss_cls'} <= set(log) and log['loss'].isfinite()
    total = sum(value for name, value in log.items() if 'loss' in name and '.' in name)
    torch.testing.assert_close(log['loss'], total)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    student = {k for k in before if k.startswith('architecture.') and 'roi_head' not in k}
    assert student <= changed and not any(k.startswith('teacher.') for k in changed)


def test_boxes_reach_the_loss(make):
    model = make(transfers=dict(loss_fgd=FGD))
    near, far = (
        model.loss(*images_and_boxes(box))['distill.loss_fgd1']
        for box in ((0.0, 0.0, 8.0, 8.0), (8.0, 8.0, 32.0, 32.0))
    )
    assert near != far


@pytest.mark.parametrize('roi_head', [False, True])
def test_the_teacher_runs_no_head(make, roi_head):
    """Nor does a two-stage detector's trial run, for which there would be no proposals."""
    model = make(dict(roi_head=roi_head), dict(roi_head=roi_head))
    images, samples = images_and_boxes()
    head_runs.clear()
    model.run_teacher(images)
    assert not head_runs
    model.loss(images, samples)
    assert head_runs == [3]


def test_parts_are_inherited_when_training_starts(make):
    model = make(inherit=['bbox_head', 'neck.convs.0'], student=dict(width=8))
    student, teacher = model.student.state_dict(), model.teacher.state_dict()
    same = {key for key in student if torch.equal(student[key], teacher[key])}
    parts = {key for key in student if key.startswith(('bbox_head', 'neck.convs.0'))}
    assert len(parts) == 4
    assert {key for key in same if not key.startswith('backbone.layer1.1')} == parts
    assert not any(p is q for p, q in zip(model.student.parameters(), model.teacher.parameters()))


def test_compiled_ops_are_never_given_channels_last_memory(make, monkeypatch):
    def in_channels_last(model):
        weight = model.student.backbone.layer2[0].weight
        return weight.is_contiguous(memory_format=torch.channels_last)

    assert in_channels_last(make())
    op = type('RoIAlign', (nn.Module,), {'__module__': 'mmcv.ops.roi_align'})
    plain = Detector.__init__
    monkeypatch.setattr(
        Detector, '__init__', lambda self, **k: (plain(self, **k), setattr(self, 'align', op()))[0]
    )
    model = make()
    assert reads_memory_as_contiguous(model.teacher) and not in_channels_last(model)
    with pytest.raises(ValueError, match='channels_last=True: compiled ops of MMCV'):
        make(channels_last=True)


def at_neck(at):
    return dict(transfers=dict(loss_cankd=dict(CANKD, at=at)))


PLAIN = cifar_resnet_cfg(8)


@pytest.mark.parametrize(
    'options, message',
    [
        (at_neck(dict(neck=[0, 3])), "the student's neck .Neck. has no level 3; it has 3, counted"),
        (at_neck(dict(neck=['P3'])), "has no level 'P3'"),
        (at_neck(dict(neck=[])), 'the student: give a list of levels'),
        (dict(at_neck('neck'), teacher=dict(num_outs=4)), 'the places must pair up'),
        (
            dict(at_neck(dict(neck=[3])), student=dict(num_outs=4)),
            "the teacher's neck .Neck. has no level 3",
        ),
        (at_neck('necks'), "'stages', 'neck'.*dict.neck="),
        (
            dict(transfers=dict(loss_cankd=dict(CANKD, position='pre_relu'))),
            'position would be ignored',
        ),
        (
            dict(transfers=dict(loss_cankd=dict(CANKD, connector=None)), teacher=dict(channels=8)),
            'give a connector for the channels',
        ),
        (dict(input_shape=(3, 8, 8)), 'loss_cankd3.*too small for pool_size=2'),
        (
            dict(
                student=dict(roi_head=True),
                transfers=dict(
                    loss_kd=dict(CANKD, at=dict(student=['bbox_head'], teacher=['bbox_head']))
                ),
            ),
            "Detector: 'bbox_head' works on proposals",
        ),
        (dict(inherit='neck'), "inherit='neck': give a list"),
        (dict(inherit=['necks']), "the student has no 'necks'; did you mean 'neck'"),
        (
            dict(inherit=['neck']),
            r'neck.convs.0.weight is \(6, 4, 1, 1\) in the student and \(6, 8, 1, 1\) in the',
        ),
    ],
)
def test_bad_input(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_network_without_a_neck_of_levels(build):
    cfg = dict(type='mmrazor.Distill', architecture=PLAIN, teacher=PLAIN)
    with pytest.raises(ValueError, match='of the student .* has no neck|has no neck of several'):
        MODELS.build(dict(cfg, transfers=dict(loss_cankd=CANKD)))
