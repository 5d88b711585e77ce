from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import BaseLoop
from mmrazor.registry import DATASETS
from torch import nn
from torch.utils.data import DataLoader

from lakd_mm.engine import ConfigError, ModelForMetricsHook
from lakd_mm.engine.hooks.model_for_metrics_hook import first_images


class Loop(BaseLoop):
    """A built loop over digits."""

    def __init__(self, metrics, dataset):
        self.dataloader = DataLoader(dataset, batch_size=8, collate_fn=default_collate)
        self.evaluator = SimpleNamespace(metrics=metrics)

    def run(self):
        raise AssertionError('never run')


class Metric:
    """Keeps what it is given."""

    uses_runs_teacher = True

    def use_model(self, model, batch):
        self.model, self.batch, self.teacher = model, batch, model.teacher


@pytest.fixture
def digits():
    init_default_scope('mmpretrain')
    return DATASETS.build(
        dict(type='mmrazor.Digits', split='test', indices=20, pipeline=[dict(type='PackInputs')])
    )


@pytest.fixture
def model():
    model = nn.Module()
    model.teacher = nn.Module()
    model.teacher.is_init = False
    return model


def runner(model, **loops):
    loops = {'val': None, 'test': None, **loops}
    return SimpleNamespace(
        model=model,
        cfg=dict(load_from='a.pth'),
        _val_loop=loops['val'],
        _test_loop=loops['test'],
        test_loop=loops['test'],
    )


def test_model_and_images_are_handed_over(model, digits):
    metric, other = Metric(), object()
    wrapped = nn.DataParallel(model)
    ModelForMetricsHook().before_run(runner(wrapped, val=Loop([other, metric], digits), test={}))
    assert metric.model is model
    assert metric.batch['inputs'].shape == (2, 3, 32, 32)
    assert torch.equal(metric.batch['inputs'][1], digits[1]['inputs'])
    assert [sample.sample_idx for sample in metric.batch['data_samples']] == [0, 1]


def test_images_in_memory():
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(
        dict(type='mmrazor.InMemory', dataset=dict(type='mmrazor.Digits'), device='cpu')
    )
    batch = first_images(DataLoader(dataset, batch_size=8, collate_fn=lambda batch: batch), 3)
    assert torch.equal(batch['inputs'], dataset.images[:3])


@pytest.mark.parametrize('is_init, key', [(True, 'architecture.a'), (False, 'teacher.a')])
def test_teacher_with_weights(model, digits, is_init, key):
    model.teacher.is_init = is_init
    hook, run = ModelForMetricsHook(), runner(model, test=Loop([Metric()], digits))
    hook.before_run(run)
    hook.after_load_checkpoint(run, dict(state_dict={key: 0}))
    hook.before_test(run)


def test_teacher_without_weights(model, digits):
    hook, run = ModelForMetricsHook(), runner(model, test=Loop([Metric()], digits))
    hook.before_run(run)
    hook.after_load_checkpoint(run, dict(state_dict={'architecture.a': 0}))
    with pytest.raises(ConfigError, match='Metric: the teacher has random weights, checkpoint a.p'):
        hook.before_test(run)
