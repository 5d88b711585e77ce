"""Several teachers under ``teacher``: their mean, their weights, their checkpoints."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, scatter_statistics

from lakd_mm.engine.networks import build_network
from lakd_mm.evaluation import TeacherAgreement
from lakd_mm.models import TeacherEnsemble
from lakd_mm.models.teachers import load_teacher
from lakd_mm.models.teachers.ensemble import WeightedMean

PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
TEACHERS = [cifar_resnet_cfg(8), cifar_resnet_cfg(14), cifar_resnet_cfg(8, widen_factor=4)]
KD = dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')
WEIGHTED = dict(type='mmrazor.TeacherEnsemble', members=TEACHERS, weights=[2, 1, 1])


def algorithm(name='Distill', teacher=TEACHERS, **model):
    if name == 'Distill':
        model = dict(transfers=dict(loss_kd=KD), **model)
    return dict(
        type=f'mmrazor.{name}',
        architecture=cifar_resnet_cfg(8),
        teacher=copy.deepcopy(teacher),
        data_preprocessor=PREPROCESSOR,
        **model,
    )


@pytest.mark.parametrize(
    'teacher, weights', [(TEACHERS, [1 / 3] * 3), (WEIGHTED, [0.5, 0.25, 0.25])]
)
def test_kd_from_the_geometric_mean_of_the_predictions(build, batch, teacher, weights):
    model = build(algorithm(teacher=teacher)).eval()
    scatter_statistics(model.teacher)
    members = [model.teacher.first(), *model.teacher.others]
    with torch.no_grad():
        logits = [m.eval()(batch['inputs'], mode='tensor').double() for m in members]
        student = model.student(batch['inputs'], mode='tensor').double()
    product = torch.ones(4, 10, dtype=torch.float64)
    for weight, z in zip(weights, logits):
        product *= (z / 4).softmax(1) ** weight
    target = product / product.sum(1, keepdim=True)
    divergence = target * (target.log() - (student / 4).log_softmax(1))
    expected = 16 * divergence.sum(1).mean()
    value = model(**batch, mode='loss')['distill.loss_kd']
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    predicted = model.teacher(batch['inputs'], batch['data_samples'], mode='predict')
    mean = sum(w * z for w, z in zip(weights, logits))
    assert [int(p.pred_label) for p in predicted] == mean.argmax(1).tolist()


def test_each_teacher_has_its_checkpoint(build, batch, tmp_path):
    members = [scatter_statistics(build(cfg)) for cfg in TEACHERS]
    files = []
    for i, member in enumerate(members):
        files.append(str(tmp_path / f'{i}.pth'))
        torch.save(dict(state_dict=member.state_dict()), files[-1])
    model = build(algorithm(teacher_ckpt=files))
    with torch.no_grad():
        logits = [m(batch['inputs'], mode='tensor') for m in members]
        mean = model.teacher.eval()(batch['inputs'])
    torch.testing.assert_close(mean, sum(logits) / 3)
    with pytest.raises(ValueError, match='give a list of checkpoints, one for each of the 3'):
        MODELS.build(algorithm(teacher_ckpt=files[:2]))
    with pytest.raises(ValueError, match='give a list of checkpoints, one for each of the 3'):
        MODELS.build(algorithm(teacher_ckpt=files[0]))
    with pytest.raises(ValueError, match='one for each of the 1 teachers'):
        load_teacher(members[0], files)
    with pytest.raises(ValueError, match='is not a checkpoint of the configured teacher'):
        MODELS.build(algorithm(teacher_ckpt=files[::-1]))


def test_lakd_takes_features_of_the_first_and_logits_of_all(build, batch):
    model = build(algorithm('LAKD', taps=[1, 2, 3], extra_losses=dict(loss_kd=KD)))
    sources = {k: r.source for k, r in model.distiller.teacher_recorders.recorders.items()}
    taps = {f'module{i}': f'backbone.layer{i}.0' for i in (1, 2, 3)}
    assert sources == dict(taps, cat='backbone', kd='mean')
    assert model.distiller.connectors['teacher_cat']._layer_name == 'head.fc'
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    log = model.train_step(dict(batch, inputs=list(batch['inputs'])), optim_wrapper=wrapper)
    assert log['distill.loss_kd'] > 0 and log['distill.loss_cat'] > 0
    after = model.teacher.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_the_others_do_not_run_where_only_features_are_compared(build, batch, monkeypatch):
    at = dict(loss=dict(type='mmrazor.AttentionTransferLoss'), at='stages')
    models = [build(algorithm()), build(dict(algorithm(), transfers=dict(loss_at=at)))]
    calls = []
    mean = WeightedMean.forward
    monkeypatch.setattr(WeightedMean, 'forward', lambda *a: calls.append(len(a)) or mean(*a))
    for model, ran in zip(models, ([4], [4])):
        model(**batch, mode='loss')
        assert calls == ran


def test_a_cohort_shares_the_teachers(build):
    member = dict(algorithm(), teacher=None)
    del member['teacher']
    model = build(dict(type='mmrazor.Cohort', members=dict(a=member, b=member), teacher=TEACHERS))
    assert isinstance(model.teacher, TeacherEnsemble)
    assert model.members['a'].teacher is model.members['b'].teacher is model.teacher


@pytest.mark.parametrize(
    'teacher, message',
    [
        (dict(WEIGHTED, members=TEACHERS[:1]), 'give two teachers or more'),
        ([TEACHERS[0], cifar_resnet_cfg(8, num_classes=5)], 'the teachers give 10, 5 logits'),
        ([TEACHERS[0], TEACHERS[0]['backbone']], 'CIFARResNet is no single classifier of'),
        ([TEACHERS[0], WEIGHTED], 'TeacherEnsemble is no single classifier of'),
        (dict(WEIGHTED, weights=[1, 2]), r'weights=\[1, 2\] are not 3 numbers'),
        (dict(WEIGHTED, weights=[1, 2, -1]), r'weights=\[1, 2, -1\] are not 3 numbers'),
    ],
)
def test_bad_input(teacher, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(algorithm(teacher=teacher))


def test_an_ensemble_is_not_trained(build, batch):
    with pytest.raises(ValueError, match='TeacherEnsemble is not trained'):
        build(copy.deepcopy(WEIGHTED))(**batch, mode='loss')


def test_tools_and_metrics_take_a_list_too(build, tmp_path):
    """Analyses build a config's teacher; metrics of features may have one of their own."""
    cfg = Config(dict(model=algorithm()))
    assert isinstance(build_network(cfg, 'teacher'), TeacherEnsemble)
    files = []
    for i, teacher in enumerate(TEACHERS[:2]):
        files.append(str(tmp_path / f'{i}.pth'))
        torch.save(dict(state_dict=build(teacher).state_dict()), files[-1])
    metric = TeacherAgreement(
        teacher=TEACHERS[:2], teacher_ckpt=files, data_preprocessor=PREPROCESSOR
    )
    assert isinstance(metric.teacher, TeacherEnsemble) and not metric.teacher.training
