_base_ = 'r56_r20.py'

# Hinton's distillation with the literature's weights for CIFAR: T = 4, 0.1 CE + 0.9 KL.
logits = dict(type='mmrazor.ModuleOutputs', source='head.fc')
model = dict(
    type='mmrazor.SingleTeacherDistill',
    architecture=dict(
        _base_.student, head=dict(_base_.head, loss=dict(_base_.head.loss, loss_weight=0.1))
    ),
    teacher=_base_.teacher,
    distiller=dict(
        type='mmrazor.LocalDistiller',
        student_recorders=dict(logits=logits),
        teacher_recorders=dict(logits=logits),
        distill_losses=dict(loss_kd=dict(type='mmrazor.KLDivergence', tau=4, loss_weight=0.9)),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(recorder='logits', from_student=True),
                preds_T=dict(recorder='logits', from_student=False),
            )
        ),
    ),
)
