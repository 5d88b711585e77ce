"""Distillation inside causal masks, as its configs write it."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from networks import cifar_resnet_cfg

METHODS = Path(__file__).parents[3] / 'configs' / '_base_' / 'methods' / 'classification.py'
TEACHER = cifar_resnet_cfg(8)
TEACHER['backbone']['type'] = 'mmrazor.CBAMCIFARResNet'
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
AT = dict(type='mmrazor.CausalATLoss')
GROUPS = ('causal_fa', 'causal_at', 'contrast')


def distill(**transfers):
    return dict(
        type='mmrazor.Distill',
        architecture=cifar_resnet_cfg(8),
        teacher=TEACHER,
        data_preprocessor=PREPROCESSOR,
        transfers=transfers,
    )


def groups(*names, **mask):
    transfers = Config.fromfile(METHODS).methods.causal_kd_fa_at.transfers.to_dict()
    known = dict(causal_fa=transfers['loss_fa'], causal_at=transfers['loss_at'])
    contrast = dict(type='mmrazor.ContrastiveAttentionLoss', temperature=0.1)
    known['contrast'] = dict(transfers['loss_at'], loss=contrast)
    parts = {f'loss_{name}': copy.deepcopy(known[name]) for name in names}
    for part in parts.values():
        part['mask'].update(mask)
    return distill(**parts)


def masked(**transfer):
    return distill(loss_at=dict(dict(loss=AT, at=[2, 3], mask=dict(percentile=85)), **transfer))


def gradients(model, batch):
    model.zero_grad()
    losses = model(**batch, mode='loss')
    sum(value for name, value in losses.items() if name.startswith('distill.')).backward()
    return {name: p.grad for name, p in model.student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('name', GROUPS)
def test_every_term_trains_the_student_and_never_the_teacher(build, batch, name):
    model = build(groups(name))
    teacher = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.train()
    found = gradients(model, batch)
    below = [k for k in found if k.startswith(('backbone.conv1', 'backbone.layer'))]
    assert len(below) == 25 and all(found[k].abs().sum() > 0 for k in below if k.endswith('weight'))
    assert all(p.grad is None for p in model.teacher.parameters())
    before = {k: v.clone() for k, v in model.student.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    model.train_step(dict(batch, inputs=list(batch['inputs'])), optim_wrapper=wrapper)
    assert all(not torch.equal(v, before[k]) for k, v in model.student.named_parameters())
    assert all(torch.equal(v, teacher[k]) for k, v in model.teacher.state_dict().items())


def test_equal_masks_at_a_tap_are_one(build, batch):
    model = build(groups(*GROUPS))
    masks = [m for m in model.distiller.connectors.values() if hasattr(m, 'percentile')]
    assert [mask._layer_name for mask in masks] == ['backbone.layer2.0', 'backbone.layer3.0']
    calls = []
    for mask in masks:
        compute = mask._mask
        mask._mask = lambda *args, compute=compute: calls.append(1) or compute(*args)
    model(**batch, mode='loss')
    assert len(calls) == 2
    assert not any('mask' in name for name in model.state_dict())


def test_other_masks_change_the_losses(build, batch):
    losses = [
        build(groups('causal_at', **mask))(**batch, mode='loss')['distill.loss_causal_at1']
        for mask in (
            {},
            dict(percentile=None),
            dict(method='integrated_gradients', steps=2),
            dict(method='grad_cam'),
            dict(target=3),
        )
    ]
    plain = build(masked(mask=dict(method='none'), loss=dict(AT, loss_weight=1000.0)))
    losses.append(plain(**batch, mode='loss')['distill.loss_at1'])
    values = [round(loss.item(), 4) for loss in losses]
    assert len(set(values)) == len(values)


def test_a_batch_split_in_two_gives_the_same_gradients(build, batch):
    model = build(groups('causal_fa', 'causal_at'))
    model.eval()  # statistics of a batch would differ
    whole = {k: v.clone() for k, v in gradients(model, batch).items()}
    halves = [
        gradients(model, {key: value[part] for key, value in batch.items()})
        for part in (slice(2), slice(2, 4))
    ]
    for name, gradient in whole.items():
        mean = sum(half[name] for half in halves) / 2
        assert (mean - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_half_precision_agrees(build, batch):
    model = build(groups(*GROUPS, percentile=None))
    model.eval()
    full = model(**batch, mode='loss')
    with torch.autocast('cpu', torch.bfloat16):
        half = model(**batch, mode='loss')
    for name, value in full.items():
        assert half[name].item() == pytest.approx(value.item(), rel=0.05), name


def test_copies_follow_their_own_teacher(build, batch):
    model = build(groups('causal_at'))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for norm in copied.teacher.backbone.layer3[0].modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.bias.normal_(generator=torch.Generator().manual_seed(0))
    before, after = (m(**batch, mode='loss')['distill.loss_causal_at1'] for m in (model, copied))
    assert before != after
    assert model(**batch, mode='loss')['distill.loss_causal_at1'] == before


def test_an_image_without_anything_salient_adds_nothing(build, batch):
    model = build(groups('causal_fa', 'causal_at'))
    with torch.no_grad():
        model.teacher.head.fc.weight.zero_()
    losses = model(**batch, mode='loss')
    distilled = [value for name, value in losses.items() if name.startswith('distill.')]
    assert len(distilled) == 4
    assert all(value == 0 and value.requires_grad for value in distilled)


def test_a_model_with_masks_is_pickled(build, batch):
    model = build(groups('causal_at'))
    model.eval()
    again = pickle.loads(pickle.dumps(model))
    name = 'distill.loss_causal_at1'
    assert torch.equal(again(**batch, mode='loss')[name], model(**batch, mode='loss')[name])


@pytest.mark.parametrize(
    'cfg, message',
    [
        (masked(mask=None), 'its loss takes a mask; give mask=dict\\(percentile=85\\)'),
        (masked(mask=85), "transfers.loss_at.mask=85: give a dict, a SaliencyMask's arguments"),
        (
            masked(mask=dict(percentil=85)),
            "loss_at.mask: .*unexpected keyword argument 'percentil'",
        ),
        (masked(mask=dict(percentile=101)), 'percentile=101 is not between 0 and 100'),
        (masked(mask=dict(tap='backbone.layer2.0')), 'loss_at.mask: tap follows from where'),
        (
            dict(masked(), teacher=cifar_resnet_cfg(8, num_classes=3)),
            "target='label', but the teacher has 3 classes and the student 10",
        ),
        (masked(loss=dict(AT, loss_weight='2')), r'loss_at1 \(s_feature from'),
        (masked(mask=dict(target=10)), 'loss_at1 .*target=10 is none of the 10 classes'),
        (
            masked(loss=dict(type='mmrazor.AttentionTransferLoss')),
            'a mask, but its loss takes none',
        ),
        (masked(at='pooled'), 'a mask needs features with positions'),
        (masked(position='pre_relu'), 'a mask needs features with positions, after the ReLU'),
        (
            masked(at=dict(student=['head.fc'], teacher=['head.fc'])),
            'a mask needs features with positions',
        ),
        (
            masked(at=dict(student=['head.fc'], teacher=[3]), connector=None),
            r'loss_at .*feature of shape \(2, 10\).*more than one position',
        ),
        (
            masked(at=dict(student=[1], teacher=['backbone.layer3.0.conv1']), connector=None),
            "above 'backbone.layer3.0.conv1' cannot be run by itself",
        ),
    ],
)
def test_bad_input(build, cfg, message):
    with pytest.raises(ValueError, match=message):
        build(cfg)
