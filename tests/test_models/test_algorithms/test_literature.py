"""The literature's methods: as configs of their own, and as losses beside LAKD's."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, cifar_wrn_cfg

BASES = Path(__file__).parents[3] / 'configs' / '_base_' / 'methods'
METHODS = Config.fromfile(BASES / 'literature.py').methods.to_dict()
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
# Of a ResNet-14, blocks 4 to 6, with the ends of its second and its third stage.
LAST = {"'stages'": [2, 3], "['stages', 'pooled']": [2, 3, 'pooled']}


def pair(**model):
    return dict(
        dict(architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(14)),
        data_preprocessor=PREPROCESSOR,
        **model,
    )


def lakd(transfers=None, **model):
    transfers = copy.deepcopy(transfers)
    for transfer in (transfers or {}).values():
        transfer['at'] = LAST.get(repr(transfer['at']), transfer['at'])
    cfg = pair(type='mmrazor.LAKD', taps=[1, 3, 6], extra_losses=transfers, **model)
    return dict(cfg, architecture=cifar_resnet_cfg(14))


def gradients(model, batch, names):
    """Run one local step; each parameter's gradient by its name."""
    model.train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    log = model.train_step(dict(batch, inputs=list(batch['inputs'])), optim_wrapper=wrapper)
    assert all(log[f'distill.{name}'].isfinite() for name in names)
    wrapper.zero_grad()
    losses = model.batch_losses(dict(batch, inputs=list(batch['inputs'])), wrapper)
    model.parse_losses(losses)[0].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope='module')
def plain():
    """LAKD alone, once it is there: its weights, and its gradients."""
    return []


@pytest.mark.parametrize('name', sorted(METHODS))
def test_each_method_trains_lakds_last_module_and_no_other(build, batch, plain, name):
    if not plain:
        model = build(lakd())
        plain += [copy.deepcopy(model.state_dict()), gradients(model, batch, [])]
    weights, expected = plain
    transfers = METHODS[name]['transfers']
    model = build(lakd(transfers))
    model.load_state_dict(weights, strict=False)
    added = [loss for loss in model.distiller.distill_losses if loss.startswith(*transfers)]
    assert added
    found = gradients(model, batch, added)
    student = [n for n in found if n.startswith('architecture.')]
    assert set(student) == {n for n in expected if n.startswith('architecture.')}
    changed = {n for n in student if not torch.equal(found[n], expected[n])}
    early = ('stem', 'conv1', 'bn1', 'layer1', 'layer2.0.')
    early = tuple(f'architecture.architecture.backbone.{part}' for part in early)
    assert any(n.startswith(early) for n in student)
    assert changed and not any(n.startswith(early) for n in changed)
    assert any('layer3' in n or 'layer2.1' in n for n in changed)
    # What a loss or a connector learns, it learns.
    own = {n for n, p in model.distiller.named_parameters() if p.requires_grad}
    assert {f'distiller.{n}' for n in own} <= set(found)


@pytest.mark.parametrize('name', sorted(METHODS))
def test_each_method_takes_a_step(build, batch, name):
    model = build(pair(**METHODS[name]))
    model.train()
    assert model.ce_weight == (0.1 if name == 'lskd' else 1.0)
    before = {k: v.clone() for k, v in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    log = model.train_step(dict(batch, inputs=list(batch['inputs'])), optim_wrapper=wrapper)
    assert log['loss'].isfinite()
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key]) == key.startswith('teacher.'), key


@pytest.mark.parametrize('name', ['vid', 'nst', 'ft', 'mgd', 'reviewkd', 'sp', 'cc'])
def test_a_teacher_of_other_widths(build, batch, name):
    transfers = copy.deepcopy(METHODS[name]['transfers'])
    cfg = pair(type='mmrazor.Distill', transfers=transfers)
    model = build(dict(cfg, teacher=cifar_resnet_cfg(8, widen_factor=4)))
    model.train()
    losses = model(**batch, mode='loss')
    assert all(value.isfinite() for value in losses.values())


def test_review_looks_where_mdistiller_does(build):
    """The student after the ReLU, the teacher before it, the vector behind the pooling."""
    distiller = build(pair(**METHODS['reviewkd'])).distiller
    recorders = distiller.student_recorders.recorders, distiller.teacher_recorders.recorders
    sources = [[(type(r).__name__, r.source) for r in side.values()] for side in recorders]
    outputs = [('ModuleOutputsRecorder', f'backbone.layer{i}.0') for i in (1, 2, 3)]
    inputs = [('ModuleInputsRecorder', f'backbone.layer{i}.1.relu') for i in (1, 2, 3)]
    pooled = [('ModuleInputsRecorder', 'head.fc')]
    assert sources == [outputs + pooled, inputs + pooled]
    assert len(distiller.distill_losses['loss_reviewkd'].fusions) == 4


def test_labels_reach_the_loss(build, batch):
    model = build(pair(**METHODS['wsld']))
    assert model.distiller.distill_losses['loss_wsld'].num_classes == 10
    losses = [model(**batch, mode='loss')['distill.loss_wsld']]
    for sample in batch['data_samples']:
        sample.set_gt_label((int(sample.gt_label) + 1) % 10)
    losses.append(model(**batch, mode='loss')['distill.loss_wsld'])
    assert losses[0] != losses[1]
    for sample in batch['data_samples']:
        del sample.gt_label
    with pytest.raises(ValueError, match=r'loss_wsld \(.*\): the loss needs labels'):
        model.distiller.student_recorders.initialize(model.student)
        step_without_labels(model, batch)


def step_without_labels(model, batch):
    with model.distiller.student_recorders, torch.no_grad():
        model.student(batch['inputs'], mode='tensor')
    model.run_teacher(batch['inputs'])
    model.distiller.compute_ready_losses({}, batch['data_samples'])


def test_a_warmup_grows_over_its_epochs(build, batch):
    model = build(pair(**METHODS['dkd'])).eval()
    hub = MessageHub.get_current_instance()
    found = []
    try:
        for epoch in (0, 4, 19, 50):
            hub.update_info('epoch', epoch)
            found.append(model(**batch, mode='loss')['distill.loss_dkd'])
    finally:
        hub.runtime_info.pop('epoch')
    found.append(model(**batch, mode='loss')['distill.loss_dkd'])
    whole = found[-1]
    torch.testing.assert_close(found, [whole / 20, whole / 4, whole, whole, whole])


DKD = METHODS['dkd']['transfers']['loss_dkd']
REVIEW = METHODS['reviewkd']['transfers']


@pytest.mark.parametrize(
    'cfg, message',
    [
        (
            dict(lakd(), extra_losses=REVIEW),
            'loss_reviewkd compares features of several modules .* up to the end of module 2',
        ),
        (lakd(dict(loss_cat=DKD)), 'extra_losses.loss_cat: LAKD has a loss of this name'),
        (lakd(dict(loss_x=dict(DKD, at='x'))), "extra_losses.loss_x.at='x' is none of"),
        (lakd(dict(loss_x=dict(DKD, warmup=-1))), 'extra_losses.loss_x.warmup=-1 is not a number'),
        (
            pair(type='mmrazor.Distill', transfers=dict(loss_x=dict(DKD, position=dict(a=1)))),
            "position={'a': 1} is neither",
        ),
        (
            pair(
                type='mmrazor.Distill',
                transfers=dict(loss_x=dict(REVIEW['loss_reviewkd'], growth=2.0)),
            ),
            'growth=2.0 would be ignored with one loss',
        ),
        (
            dict(
                lakd(dict(loss_x=dict(METHODS['ab']['transfers']['loss_ab'], at=[1]))),
                architecture=cifar_wrn_cfg(16),
                teacher=cifar_wrn_cfg(16),
            ),
            'extra_losses.loss_x.position=.* past the cut',
        ),
    ],
)
def test_bad_input(cfg, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(copy.deepcopy(cfg))


def test_a_warmup_of_no_loss_is_refused():
    with pytest.raises(ValueError, match='distiller.warmup.loss_y: there is no such loss'):
        MODELS.build(dict(type='mmrazor.LocalDistiller', warmup=dict(loss_y=2)))
