# Methods for classifiers; a config takes the one that it names: _base_.pop('methods').kd
kd = dict(
    type='mmrazor.Distill',
    # The literature's temperature and weights for CIFAR.
    ce_weight=0.1,
    transfers=dict(
        loss_kd=dict(
            loss=dict(type='mmrazor.KLDivergence', tau=4, loss_weight=0.9),
            at='logits',
        )
    ),
)

# The report's notebook has the 85th percentile; the taps are those of stages with maps large enough
# for it. It gives no weights; attention has the literature's (AT). Features have 1: at FitNet's
# 100, whose student adapts to the teacher behind a regressor, ResNet-20 stays at chance.
masked = dict(at=[2, 3], mask=dict(method='gradient', target='label', percentile=85))
fa = dict(loss=dict(type='mmrazor.CausalFALoss', loss_weight=1.0), **masked)
at = dict(loss=dict(type='mmrazor.CausalATLoss', loss_weight=1000.0), connector=None, **masked)

hmat = dict(
    # Re-derived from the abstract: positions at the low level, activation at the middle and the
    # high one, channels at the high one. Weights are ours: those of positions and channels let the
    # gradients start about as large as attention transfer's at the first stage (ResNet-56 -> 20).
    loss_position=dict(
        loss=dict(type='mmrazor.PositionAttentionLoss', loss_weight=50.0),
        at=[1],
        connector=None,
    ),
    loss_activation=dict(
        loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
        at=[2, 3],
        connector=None,
    ),
    loss_channel=dict(loss=dict(type='mmrazor.ChannelAttentionLoss'), at=[3]),
)

methods = dict(
    kd=kd,
    # Attention transfer at the end of each stage, with the literature's weight.
    at=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_at=dict(
                loss=dict(type='mmrazor.AttentionTransferLoss', loss_weight=1000.0),
                at='stages',
                connector=None,
            )
        ),
    ),
    # CanKD at the end of each stage: our extension to classification, with its authors' weight.
    cankd=dict(
        type='mmrazor.Distill',
        transfers=dict(loss_cankd=dict(loss=dict(type='mmrazor.CanKDLoss'), at='stages')),
    ),
    # Class attention transfer; a config adds the weight of its pair.
    cat_kd=dict(
        type='mmrazor.Distill',
        transfers=dict(loss_cat=dict(loss=dict(type='mmrazor.CATLoss'), at='cams')),
    ),
    # KD, and beside it features and attention inside the teacher's causal mask.
    causal_kd=kd,
    causal_kd_fa=dict(kd, transfers=dict(kd['transfers'], loss_fa=fa)),
    causal_kd_at=dict(kd, transfers=dict(kd['transfers'], loss_at=at)),
    causal_kd_fa_at=dict(kd, transfers=dict(kd['transfers'], loss_fa=fa, loss_at=at)),
    # Contrastive representation distillation with the literature's options for CIFAR.
    crd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_crd=dict(
                loss=dict(type='mmrazor.ContrastiveRepresentationLoss', num_data=50000),
                at='pooled',
                connector=dict(type='mmrazor.CRDConnector'),
                teacher_connector=dict(type='mmrazor.CRDConnector'),
            )
        ),
    ),
    # FitNet as the literature compares with: one hint, at the end of stage 2, trained along with
    # the task; the regressor is a convolution, BatchNorm and ReLU. The LAKD paper's Fig. 1 and
    # Table 4 have a hint at each stage, at='stages'.
    fitnet=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_fitnet=dict(
                loss=dict(
                    type='mmrazor.L2Loss', normalize=False, div_element=True, loss_weight=100.0
                ),
                at=[2],
                connector=dict(type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN')),
            )
        ),
    ),
    # HMAT-style, for networks of three stages and of four.
    hmat=dict(type='mmrazor.Distill', transfers=hmat),
    hmat_4_stages=dict(
        type='mmrazor.Distill',
        transfers=dict(
            hmat,
            loss_activation=dict(hmat['loss_activation'], at=[2, 3, 4]),
            loss_channel=dict(hmat['loss_channel'], at=[4]),
        ),
    ),
    # OFD at the end of each stage before the ReLU; the last stage weighs 1, each one before it half
    # of the next. MMRazor's loss holds the overall 1e-3.
    ofd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_ofd=dict(
                loss=dict(type='mmrazor.OFDLoss'),
                at='stages',
                position='pre_relu',
                connector=dict(
                    type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN'), act_cfg=None
                ),
                teacher_connector=dict(type='mmrazor.MarginConnector'),
                growth=2.0,
            )
        ),
    ),
    # Relational distillation of the vectors in front of the classifier, with the literature's
    # weights.
    rkd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_rkd_distance=dict(
                loss=dict(type='mmrazor.RKDDistanceLoss', loss_weight=25.0),
                at='pooled',
            ),
            loss_rkd_angle=dict(
                loss=dict(type='mmrazor.RKDAngleLoss', loss_weight=50.0),
                at='pooled',
            ),
        ),
    ),
)

del kd, masked, fa, at, hmat
