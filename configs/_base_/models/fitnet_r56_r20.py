_base_ = 'r56_r20.py'

# FitNet at the end of each stage, as the LAKD paper compares with (its Fig. 1): weight 100,
# regressor 1x1 convolution + BatchNorm + ReLU.
stages = {'stage1': 16, 'stage2': 32, 'stage3': 64}
recorders = {
    name: dict(type='mmrazor.ModuleOutputs', source=f'backbone.layer{name[-1]}') for name in stages
}
model = dict(
    type='mmrazor.SingleTeacherDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    distiller=dict(
        type='mmrazor.LocalDistiller',
        student_recorders=recorders,
        teacher_recorders=recorders,
        connectors={
            name: dict(
                type='mmrazor.ConvModuleConnector',
                in_channel=channels,
                out_channel=channels,
                norm_cfg=dict(type='BN'),
            )
            for name, channels in stages.items()
        },
        distill_losses={
            f'loss_{name}': dict(
                type='mmrazor.NDAMFeatureLoss', avg_weight=0.0, max_weight=0.0, loss_weight=100.0
            )
            for name in stages
        },
        loss_forward_mappings={
            f'loss_{name}': dict(
                s_feature=dict(recorder=name, from_student=True, connector=name),
                t_feature=dict(recorder=name, from_student=False),
            )
            for name in stages
        },
    ),
)
