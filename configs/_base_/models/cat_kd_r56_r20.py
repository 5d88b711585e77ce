_base_ = 'r56_r20.py'

# CAT-KD with its own weight and pooling for this pair.
features = dict(type='mmrazor.ModuleOutputs', source='backbone')
model = dict(
    type='mmrazor.SingleTeacherDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    distiller=dict(
        type='mmrazor.LocalDistiller',
        student_recorders=dict(features=features),
        teacher_recorders=dict(features=features),
        connectors=dict(
            student_cam=dict(type='mmrazor.CAMConnector'),
            teacher_cam=dict(type='mmrazor.CAMConnector'),
        ),
        distill_losses=dict(loss_cat=dict(type='mmrazor.CATLoss', pool_size=2, loss_weight=0.7)),
        loss_forward_mappings=dict(
            loss_cat=dict(
                preds_S=dict(
                    recorder='features', from_student=True, data_idx=-1, connector='student_cam'
                ),
                preds_T=dict(
                    recorder='features', from_student=False, data_idx=-1, connector='teacher_cam'
                ),
            )
        ),
    ),
)
