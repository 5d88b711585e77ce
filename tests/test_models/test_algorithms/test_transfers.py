"""What transfers turn into, and the methods that are configs of them."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, cifar_wrn_cfg

METHODS = Path(__file__).parents[3] / 'configs' / '_base_' / 'methods'
PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
WIDE = cifar_resnet_cfg(8, widen_factor=4)
WIDE['head']['in_channels'] = 256


def wave(shape, a, b):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


def method(name):
    file = 'lakd.py' if name == 'lakd' else 'classification.py'
    return copy.deepcopy(Config.fromfile(METHODS / file).methods[name].to_dict())


def distill_cfg(student=None, teacher=None, **model):
    return dict(
        dict(type='mmrazor.Distill'),
        architecture=student or cifar_resnet_cfg(8),
        teacher=teacher or cifar_resnet_cfg(14),
        data_preprocessor=PREPROCESSOR,
        **model,
    )


AT = dict(type='mmrazor.AttentionTransferLoss')
BACKBONE = dict(type='mmrazor.CIFARResNet', depth=8)


def at_config(**transfer):
    return distill_cfg(transfers=dict(loss_at=dict(dict(loss=AT, at='stages'), **transfer)))


def raw(batch):
    samples = [
        DataSample(metainfo=dict(sample_idx=i)).set_gt_label(int(s.gt_label))
        for i, s in enumerate(batch['data_samples'])
    ]
    return dict(inputs=list(batch['inputs']), data_samples=samples)


class TestGoldenValues:
    """Of the losses as the configs of the methods weight them."""

    def loss(self, name, transfer):
        return MODELS.build(method(name)['transfers'][transfer]['loss'])

    def test_kd(self):
        s, t = 3 * wave((4, 10), 0.9, 0.2), 3 * wave((4, 10), 1.3, 0.5)
        value = self.loss('kd', 'loss_kd')(s, t).item()
        assert value == pytest.approx(0.9 * 4.160389512183018, rel=1e-12)
        assert method('kd')['ce_weight'] == 0.1

    def test_at(self, s_map, t_map):
        value = self.loss('at', 'loss_at')(s_map, t_map).item()
        assert value == pytest.approx(1000 * 0.0023819827704548795, rel=1e-12)

    def test_fitnet(self, s_map, t_map):
        value = self.loss('fitnet', 'loss_fitnet')(s_map, t_map).item()
        assert value == pytest.approx(100 * 0.9937809542029653, rel=1e-12)

    def test_rkd(self):
        s, t = wave((4, 12), 0.61, 0.3), wave((4, 20), 0.47, 0.9)
        distance = self.loss('rkd', 'loss_rkd_distance')(s, t).item()
        angle = self.loss('rkd', 'loss_rkd_angle')(s, t).item()
        assert distance == pytest.approx(25 * 0.2822001699383472, rel=1e-9)
        assert angle == pytest.approx(50 * 0.13833166897031188, rel=1e-9)

    def test_crd_weight(self):
        assert self.loss('crd', 'loss_crd').loss_weight == 0.8


@pytest.mark.parametrize('name', ['kd', 'at', 'fitnet', 'rkd', 'crd', 'ofd', 'cat_kd', 'lakd'])
def test_every_term_trains_the_student_and_never_the_teacher(build, batch, name):
    cfg = method(name)
    if name == 'cat_kd':
        cfg['transfers']['loss_cat']['loss'] = dict(type='mmrazor.CATLoss')
    model = build(dict(distill_cfg(), **cfg))
    teacher = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.train()
    terms = model(**raw_tensors(batch), mode='loss')
    distilled = {k: v for k, v in terms.items() if k.startswith('distill.')}
    assert distilled
    for value in distilled.values():
        model.zero_grad()
        value.backward(retain_graph=True)
        gradients = [p.grad for p in model.student.parameters() if p.grad is not None]
        assert sum(g.abs().sum() for g in gradients) > 0
        assert all(p.grad is None for p in model.teacher.parameters())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    before = {k: v.clone() for k, v in model.student.named_parameters()}
    model.train_step(raw(batch), optim_wrapper=wrapper)
    assert all(not torch.equal(v, before[k]) for k, v in model.student.named_parameters())
    assert all(torch.equal(v, teacher[k]) for k, v in model.teacher.state_dict().items())


def raw_tensors(batch):
    return dict(inputs=batch['inputs'], data_samples=raw(batch)['data_samples'])


def test_fitnet_equals_mmrazors_long_form(build, batch):
    """The whole step: the same distiller written by hand, run by MMRazor's own algorithm."""
    model = build(dict(distill_cfg(), **method('fitnet')))
    model.eval()
    stage2 = dict(type='mmrazor.ModuleOutputs', source='backbone.layer2')
    theirs = MODELS.build(
        dict(
            type='mmrazor.SingleTeacherDistill',
            architecture=cifar_resnet_cfg(8),
            teacher=cifar_resnet_cfg(14),
            data_preprocessor=PREPROCESSOR,
            distiller=dict(
                type='mmrazor.ConfigurableDistiller',
                student_recorders=dict(hint=stage2),
                teacher_recorders=dict(hint=stage2),
                connectors=dict(
                    regressor=dict(
                        type='mmrazor.ConvModuleConnector',
                        in_channel=32,
                        out_channel=32,
                        norm_cfg=dict(type='BN'),
                    )
                ),
                distill_losses=dict(
                    loss_hint=dict(
                        type='mmrazor.L2Loss', normalize=False, div_element=True, loss_weight=100.0
                    )
                ),
                loss_forward_mappings=dict(
                    loss_hint=dict(
                        s_feature=dict(recorder='hint', from_student=True, connector='regressor'),
                        t_feature=dict(recorder='hint', from_student=False),
                    )
                ),
            ),
        )
    )
    assert isinstance(theirs, SingleTeacherDistill)
    theirs.architecture.load_state_dict(model.architecture.state_dict())
    theirs.teacher.load_state_dict(model.teacher.state_dict())
    ours = model.distiller.connectors['student_fitnet']
    theirs.distiller.connectors['regressor'].load_state_dict(ours.state_dict())
    theirs.eval()
    expected = theirs(**batch, mode='loss')['distill.loss_hint']
    torch.testing.assert_close(model(**batch, mode='loss')['distill.loss_fitnet'], expected)


class TestPlaces:
    def test_logits_and_pooled(self, build, batch):
        model = build(distill_cfg(**{k: v for k, v in method('rkd').items() if k != 'type'}))
        recorders = model.distiller.student_recorders
        with recorders, torch.no_grad():
            model.student(batch['inputs'], mode='tensor')
        pooled = recorders.get_recorder('rkd_angle').get_record_data(data_idx=0)
        features = model.student.extract_feat(batch['inputs'])[-1]
        torch.testing.assert_close(pooled, features)

    def test_pre_relu_is_before_the_relu(self, build, batch):
        model = build(distill_cfg(**{k: v for k, v in method('ofd').items() if k != 'type'}))
        recorders = model.distiller.student_recorders
        with recorders, torch.no_grad():
            model.student(batch['inputs'], mode='tensor')
            stages = model.student.backbone(batch['inputs'])
        last = recorders.get_recorder('ofd3').get_record_data(record_idx=-1, data_idx=0)
        assert last.min() < 0
        torch.testing.assert_close(last.relu(), stages[-1])
        weights = [model.distiller.distill_losses[f'loss_ofd{i}'].loss_weight for i in (1, 2, 3)]
        assert weights == [0.25, 0.5, 1.0]
        norms = [model.distiller.connectors[f'teacher_ofd{i}'].norm for i in (1, 2, 3)]
        assert norms == [f'backbone.layer{i}.1.bn2' for i in (1, 2, 3)]

    def test_chosen_stages_and_taps(self, build):
        by_stage = build(at_config(at=[1, 3]))
        by_tap = build(
            at_config(at=dict(student=[1, 'backbone.layer3'], teacher=[2, 'backbone.layer3.1']))
        )
        sources = [
            [r.source for r in m.distiller.teacher_recorders.recorders.values()]
            for m in (by_stage, by_tap)
        ]
        assert sources[0] == sources[1] == ['backbone.layer1.1', 'backbone.layer3.1']


class TestConnectors:
    def test_none_where_shapes_agree(self, build):
        assert len(build(at_config()).distiller.connectors) == 0

    @pytest.mark.parametrize(
        'student_tap, teacher_tap, kernel',
        [(1, 1, (1, 1)), (1, 2, (3, 3)), (2, 1, (4, 4))],
    )
    def test_channels_and_sizes_are_matched(self, build, batch, student_tap, teacher_tap, kernel):
        cfg = distill_cfg(
            teacher=WIDE,
            transfers=dict(
                loss_mse=dict(
                    loss=dict(type='mmrazor.L2Loss', normalize=False),
                    at=dict(student=[student_tap], teacher=[teacher_tap]),
                )
            ),
        )
        model = build(cfg)
        connector = model.distiller.connectors['student_mse'].conv_module
        assert connector.conv.kernel_size == kernel and not connector.with_activation
        assert isinstance(connector.conv, nn.ConvTranspose2d) == (kernel == (4, 4))
        assert model(**batch, mode='loss')['distill.loss_mse'] > 0

    @pytest.mark.parametrize(
        'student_tap, teacher_tap, pooled', [(1, 3, 'student'), (3, 1, 'teacher')]
    )
    def test_the_larger_map_is_pooled_where_no_convolution_fits(
        self, build, batch, student_tap, teacher_tap, pooled
    ):
        cfg = distill_cfg(
            teacher=cifar_wrn_cfg(10, 2),
            transfers=dict(
                loss_mse=dict(
                    loss=dict(type='mmrazor.L2Loss', normalize=False),
                    at=dict(student=[student_tap], teacher=[teacher_tap]),
                )
            ),
        )
        model = build(cfg)
        connectors = model.distiller.connectors
        assert connectors[f'{pooled}_mse'].size == (8, 8)
        student = getattr(connectors['student_mse'], 'connector', connectors['student_mse'])
        assert student.conv_module.conv.kernel_size == (1, 1)
        assert model(**batch, mode='loss')['distill.loss_mse'] > 0

    def test_embeddings_of_different_widths(self, build):
        model = build(dict(distill_cfg(teacher=WIDE), **method('crd')))
        linears = [
            model.distiller.connectors[f'{side}_crd'].linear for side in ('student', 'teacher')
        ]
        assert [layer.in_features for layer in linears] == [64, 256]
        assert [layer.out_features for layer in linears] == [128, 128]
        names = {name for name, _ in model.named_parameters()}
        assert 'distiller.connectors.teacher_crd.linear.weight' in names


class ViewNeck(nn.Module):
    """Flattens as many networks do, which needs contiguous features."""

    def forward(self, features):
        return (features[-1].view(len(features[-1]), -1),)


def test_a_network_that_needs_contiguous_features(build):
    flat = cifar_resnet_cfg(8)
    flat = dict(flat, neck=dict(type=ViewNeck), head=dict(flat['head'], in_channels=64 * 64))
    cfg = dict(distill_cfg(), **method('kd'), teacher=flat)
    with pytest.raises(ValueError, match='channels_last=True: one .* leave it out'):
        build(dict(cfg, channels_last=True))
    model = build(cfg)
    assert not model.run_teacher.channels_last
    assert all(weight.is_contiguous() for weight in model.student.parameters())


@pytest.mark.parametrize(
    'cfg, message',
    [
        (distill_cfg(), 'give either transfers or a distiller'),
        (at_config(att='stages'), "transfers.loss_at: no key 'att'"),
        (at_config(at='stage'), "transfers.loss_at.at='stage' is none of 'logits'"),
        (at_config(at=[4]), 'there is no stage 4, the student has 3'),
        (at_config(at=dict(student=[1, 2], teacher=[1])), 'the student has 2 .* the teacher 1'),
        (at_config(position='post'), "position='post' is neither"),
        (at_config(loss=dict(type='mmrazor.ATLos')), "'mmrazor.ATLos' is not registered"),
        (distill_cfg(transfers=dict(at=dict(loss={}, at='stages'))), 'a name with "loss" in it'),
        (distill_cfg(transfers={}), 'transfers={}: give a dict of at least one'),
        (distill_cfg(transfers=dict(loss_at=None)), 'transfers.loss_at=None: give a dict'),
        (at_config(loss='ATLoss'), "transfers.loss_at.loss='ATLoss': give a dict with a type"),
        (at_config(loss=dict(AT, lossweight=3)), 'loss_at.loss: .*unexpected keyword .*lossweight'),
        (at_config(growth=0), 'growth=0 is not a positive number'),
        (at_config(connector='none'), "loss_at.connector='none': give a dict with a type"),
        (
            at_config(teacher_connector=dict(type='mmrazor.MarginConnector')),
            "teacher_connector: mmrazor.MarginConnector: missing a required argument: 'norm'",
        ),
        (at_config(at='cams', growth=2.0), "growth would be ignored with at='cams'"),
        (
            distill_cfg(
                transfers=dict(loss_at=dict(loss=AT, at='stages'), loss_at1=dict(loss=AT, at=[3]))
            ),
            'transfers.loss_at1: a place of another transfer is called loss_at1 too',
        ),
        (dict(at_config(), teacher=BACKBONE), 'teacher: CIFARResNet is no network of OpenMMLab'),
        (dict(at_config(), input_shape=(1, 32, 32)), 'does not run on images .*input_shape'),
        (
            dict(at_config(), teacher_cktp='a.pth'),
            "has no 'teacher_cktp'; did you mean 'teacher_ckpt'",
        ),
        (dict(at_config(), ce_weight='1'), "ce_weight='1' is not a number"),
        (
            dict(
                at_config(position='pre_relu'),
                architecture=dict(
                    type='mmrazor.GradientDetachStudent',
                    architecture=cifar_wrn_cfg(10),
                    taps=[1, 2],
                ),
                teacher=cifar_wrn_cfg(10),
            ),
            'belongs to the next module, past the cut',
        ),
        (distill_cfg(transfers=dict(loss_at=dict(at='stages'))), "'loss' is missing"),
        (dict(at_config(), backward='local'), "backward='local' needs a student that is cut"),
    ],
)
def test_bad_input(build, cfg, message):
    with pytest.raises(ValueError, match=message):
        build(cfg)
