"""One step equals, to the bit, the same step written out with MMRazor's own parts."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmrazor.models.distillers import ConfigurableDistiller
from networks import cifar_resnet_cfg

METHODS = {
    'lakd': dict(type='mmrazor.LAKD'),
    'kd': dict(
        type='mmrazor.Distill',
        transfers=dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits')),
    ),
    'cankd': dict(
        type='mmrazor.Distill',
        transfers=dict(loss_cankd=dict(loss=dict(type='mmrazor.CanKDLoss'), at='stages')),
    ),
}


@pytest.fixture(params=METHODS)
def twins(request, build):
    """Two equal algorithms whose teacher runs as it is."""
    plain_teacher = dict(fold_batchnorm=False, inplace=False, stop_early=False)
    cfg = dict(
        METHODS[request.param],
        architecture=cifar_resnet_cfg(8),
        teacher=cifar_resnet_cfg(14),
        lean_teacher=plain_teacher,
        channels_last=False,
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3
        ),
    )
    return build(cfg), build(cfg)


def plain_step(model, optimizer, inputs, data_samples):
    """Teacher, student, all losses, one backward, one update."""
    distiller = model.distiller
    with distiller.teacher_recorders, torch.no_grad():
        model.teacher(inputs)
    with distiller.student_recorders:
        losses = dict(student=model.student(inputs, data_samples, mode='loss')['loss'])
    losses.update(ConfigurableDistiller.compute_distill_losses(distiller))
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
    return losses


def test_steps_equal_plain_ones(twins, batch):
    model, reference = twins
    wrapper = OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        data = dict(inputs=list(batch['inputs']), data_samples=batch['data_samples'])
        logs = model.train_step(data, optim_wrapper=wrapper)
        expected = plain_step(reference, optimizer, **batch)
        assert len(logs) == len(expected) + 1
        for name, loss in expected.items():
            logged = logs['student.loss' if name == 'student' else f'distill.{name}']
            assert torch.equal(logged.detach(), loss.detach()), name
    # Momentum holds every gradient of the three steps.
    found, wanted = (o.state_dict()['state'] for o in (wrapper.optimizer, optimizer))
    assert found.keys() == wanted.keys() != set()
    for i, state in wanted.items():
        assert torch.equal(found[i]['momentum_buffer'], state['momentum_buffer'])
    states = model.state_dict(), reference.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
