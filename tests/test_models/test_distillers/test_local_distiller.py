import pytest
import torch
from networks import cifar_resnet_cfg

from lakd_mm.models import LocalDistiller


def distiller(**recorders):
    return LocalDistiller(
        student_recorders={
            name: dict(type='mmrazor.ModuleOutputs', source=source)
            for name, source in recorders.items()
        },
        teacher_recorders=dict(),
        connectors=dict(),
        distill_losses={f'loss_{name}': dict(type='mmrazor.L1Loss') for name in recorders},
        loss_forward_mappings={
            f'loss_{name}': dict(
                s_feature=dict(recorder=name, from_student=True),
                t_feature=dict(recorder=name, from_student=True),
            )
            for name in recorders
        },
    )


def test_losses_are_ready_when_their_records_are(build, batch):
    network = build(cifar_resnet_cfg(8))
    local = distiller(early='backbone.layer1', late='backbone.layer3')
    local.prepare_from_student(network)
    early, late = (local.student_recorders.get_recorder(n) for n in ('early', 'late'))
    done, seen = {}, []

    def between(module, args):
        done.update(local.compute_ready_losses(done))
        seen.append(list(done))
        local.drop_records(done)
        seen.append((len(early.data_buffer), len(late.data_buffer)))

    network.backbone.layer2.register_forward_pre_hook(between)
    with local.student_recorders, torch.no_grad():
        network(batch['inputs'])
    assert seen == [['loss_early'], (0, 0)]
    assert list(local.compute_ready_losses(done)) == ['loss_late']
    assert len(late.data_buffer) == 1


@pytest.mark.parametrize(
    'source, near', [('backbone.layr1', 'backbone.layer1'), ('head.fcc', 'head.fc')]
)
def test_unknown_sources_are_answered_with_near_names(build, source, near):
    with pytest.raises(
        ValueError, match=f'student_recorders.tap: .*{source}.*did you mean.*{near}'
    ):
        distiller(tap=source).prepare_from_student(build(cifar_resnet_cfg(8)))
