# Relational distillation of the vectors in front of the classifier, with the literature's weights.
# MMRazor's default with_l2_norm=True is another loss.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_rkd_distance=dict(
            loss=dict(type='mmrazor.DistanceWiseRKD', with_l2_norm=False, loss_weight=25.0),
            at='pooled',
        ),
        loss_rkd_angle=dict(
            loss=dict(type='mmrazor.AngleWiseRKD', with_l2_norm=False, loss_weight=50.0),
            at='pooled',
        ),
    ),
)
