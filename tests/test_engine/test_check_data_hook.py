from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.runner import BaseLoop
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lakd_mm.engine import CheckDataHook, ConfigError
from lakd_mm.engine.hooks.check_data_hook import heads
from lakd_mm.models import ContrastiveRepresentationLoss


class Loop(BaseLoop):
    """A built loop over a data set of some classes."""

    def __init__(self, classes):
        dataset = SimpleNamespace(metainfo=dict(classes=classes), data_root='data/x')
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise AssertionError('never run')


class Classifier(nn.Module):
    """A model with a head of ``num_classes``."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Module()
        self.head.num_classes = num_classes


class Algorithm(nn.Module):
    """A student and a teacher."""

    def __init__(self, student, teacher):
        super().__init__()
        self.architecture = student
        self.teacher = teacher


def runner(model, train=None, val=None, test=None):
    return SimpleNamespace(model=model, _train_loop=train, _val_loop=val, _test_loop=test)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_classifier(split):
    CheckDataHook().before_run(runner(Classifier(3), **{split: Loop('abc')}))
    message = (
        f'{split}_dataloader.dataset has 2 classes .from data/x., but the head of model has '
        'num_classes=3'
    )
    with pytest.raises(ConfigError, match=message):
        CheckDataHook().before_run(runner(Classifier(3), **{split: Loop('ab')}))


def test_the_students_head_has_to_fit():
    fits, other = Classifier(2), Classifier(5)
    loops = dict(train=Loop('ab'), test=dict(type='TestLoop'))
    CheckDataHook().before_run(runner(Algorithm(fits, fits), **loops))
    CheckDataHook().before_run(runner(Algorithm(fits, other), **loops))
    with pytest.raises(ConfigError, match='head of model.architecture has num_classes=5'):
        CheckDataHook().before_run(runner(Algorithm(other, fits), **loops))


def test_the_students_of_a_cohort_have_to_fit():
    cohort = nn.Module()
    cohort.members = nn.ModuleDict(dict(a=Algorithm(Classifier(2), None)))
    CheckDataHook().before_run(runner(cohort, train=Loop('ab')))
    cohort.members['b'] = Algorithm(Classifier(5), None)
    with pytest.raises(ConfigError, match='model.members.b.architecture has num_classes=5'):
        CheckDataHook().before_run(runner(cohort, train=Loop('ab')))


STAGES = dict(at='stages')
FEATURES = {
    'fitnet': dict(loss_f=dict(STAGES, loss=dict(type='mmrazor.L2Loss'))),
    'at': dict(
        loss_at=dict(STAGES, loss=dict(type='mmrazor.AttentionTransferLoss'), connector=None)
    ),
    'cankd': dict(loss_c=dict(at=[3], loss=dict(type='mmrazor.CanKDLoss'))),
    'mask': dict(
        loss_m=dict(
            at=[2],
            loss=dict(type='mmrazor.CausalFALoss'),
            mask=dict(target='prediction', percentile=85),
        )
    ),
    'relations': dict(loss_r=dict(at='logits', loss=dict(type='mmrazor.RKDDistanceLoss'))),
}


def pair(method):
    """A student of 2 classes and a teacher of 30."""
    networks = dict(
        architecture=cifar_resnet_cfg(8, num_classes=2), teacher=cifar_resnet_cfg(8, num_classes=30)
    )
    if method == 'lakd':
        model = dict(type='mmrazor.LAKD', taps=[1, 2, 3], teacher_taps=[1, 2, 3], **networks)
        return dict(model, attention_loss=None)
    return dict(type='mmrazor.Distill', transfers=FEATURES[method], **networks)


@pytest.mark.parametrize('method', ['lakd', *FEATURES])
def test_features_of_a_teacher_of_other_classes_teach(method):
    model = MODELS.build(pair(method))
    CheckDataHook().before_run(runner(model, train=Loop('ab')))
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.1)))
    samples = [DataSample().set_gt_label(i % 2) for i in range(4)]
    images = torch.rand(4, 3, 32, 32)
    log = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert all(torch.as_tensor(value).isfinite().all() for value in log.values())
    assert sum(key.startswith('distill.') for key in log) >= 1


def test_a_teacher_of_other_classes_cannot_teach_logits_cams_or_labels():
    mask = dict(FEATURES['mask']['loss_m'], mask=dict(target='label', percentile=85))
    for transfers, message in (
        (dict(loss_kd=dict(at='logits', loss=dict(type='mmrazor.KLDivergence'))), 'loss_kd'),
        (dict(loss_cat=dict(at='cams', loss=dict(type='mmrazor.CATLoss'))), 'classes must agree'),
        (dict(loss_m=mask), "target='label', but the teacher has 30 classes and the student 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            MODELS.build(dict(pair('at'), transfers=transfers))


def test_labels_that_choose_among_the_teachers_classes():
    """A distiller in its long form; 30 classes of both, 2 of the data."""
    mask = dict(FEATURES['mask']['loss_m'], mask=dict(target='label', percentile=85))
    networks = dict(
        architecture=cifar_resnet_cfg(8, num_classes=30),
        teacher=cifar_resnet_cfg(8, num_classes=30),
    )
    model = MODELS.build(dict(type='mmrazor.Distill', transfers=dict(loss_m=mask), **networks))
    assert [name for name, _ in heads(model)] == ['model.architecture', 'model.teacher']
    model = MODELS.build(pair('mask'))
    assert [name for name, _ in heads(model)] == ['model.architecture']


@pytest.mark.parametrize('ranks, share', [(1, ''), (8, ', 5 for each of 8 processes')])
def test_a_loader_without_a_whole_batch(monkeypatch, ranks, share):
    monkeypatch.setattr('lakd_mm.engine.hooks.check_data_hook.get_world_size', lambda: ranks)
    loop = Loop('ab')
    loop.dataloader = DataLoader(TensorDataset(torch.zeros(5, 1)), batch_size=6, drop_last=True)
    message = f'train_dataloader has no batch: .* 5 images{share}; .* of 6'
    with pytest.raises(ConfigError, match=message):
        CheckDataHook().before_run(runner(nn.Linear(1, 1), train=loop))
    loop.dataloader = DataLoader(TensorDataset(torch.zeros(5, 1)), batch_size=5, drop_last=True)
    CheckDataHook().before_run(runner(nn.Linear(1, 1), train=loop))


def test_unknown_numbers_pass():
    CheckDataHook().before_run(runner(nn.Linear(1, 1), train=Loop('ab')))
    CheckDataHook().before_run(runner(Classifier(2), train=Loop(None)))


def test_a_loss_sees_the_training_set():
    """CRD's banks have a row for each of its images."""
    loop = Loop('ab')
    loop.dataloader.dataset = range(4)
    CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(4, dim=2), train=loop))
    CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(3, dim=2), val=loop))
    with pytest.raises(ConfigError, match='has 4 images.*num_data=3 rows; set num_data to 4'):
        CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(3, dim=2), train=loop))
