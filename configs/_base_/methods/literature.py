# More of the literature's methods for classifiers, with the weights of RepDistiller and mdistiller
# or of their authors for ResNet-56 -> ResNet-20 on CIFAR-100; a config takes the one that it names:
# _base_.pop('methods').dkd
methods = dict(
    # Activation boundaries before the ReLU; the last stage weighs 1, each one before it half of the
    # next. MMRazor's loss holds the overall 3e-3.
    ab=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_ab=dict(
                loss=dict(type='mmrazor.ABLoss'),
                at='stages',
                position='pre_relu',
                connector=dict(
                    type='mmrazor.ConvModuleConnector', norm_cfg=dict(type='BN'), act_cfg=None
                ),
                growth=2.0,
            )
        ),
    ),
    # RepDistiller's correlation, whose table the literature quotes.
    cc=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_cc=dict(
                loss=dict(
                    type='mmrazor.CorrelationCongruenceLoss', kernel='neighbours', loss_weight=0.02
                ),
                at='pooled',
            )
        ),
    ),
    # Channel-wise divergence of class activation maps, with its authors' temperature and weight for
    # a segmenter's score maps: our extension to classification.
    cwd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_cwd=dict(
                loss=dict(type='mmrazor.ChannelWiseDivergence', tau=4, loss_weight=3.0), at='cams'
            )
        ),
    ),
    dist=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_dist=dict(
                loss=dict(
                    type='mmrazor.DISTLoss', inter_loss_weight=2.0, intra_loss_weight=2.0, tau=4
                ),
                at='logits',
            )
        ),
    ),
    dkd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_dkd=dict(
                loss=dict(type='mmrazor.DecoupledKDLoss', tau=4, alpha=1.0, beta=2.0),
                at='logits',
                warmup=20,
            )
        ),
    ),
    # Factors of the last stage; the weight is our reading.
    ft=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_ft=dict(
                loss=dict(type='mmrazor.FactorTransferLoss', loss_weight=500.0),
                at=[3],
                connector=None,
            )
        ),
    ),
    kdsvd=dict(
        type='mmrazor.Distill',
        transfers=dict(loss_kdsvd=dict(loss=dict(type='mmrazor.SingularVectorLoss'), at='stages')),
    ),
    lskd=dict(
        type='mmrazor.Distill',
        ce_weight=0.1,
        transfers=dict(
            loss_lskd=dict(
                loss=dict(type='mmrazor.StandardizedKLLoss', tau=2, loss_weight=9.0), at='logits'
            )
        ),
    ),
    # The last stage, with its authors' weight and masks of channels for ImageNet; on CIFAR it is
    # our extension.
    mgd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_mgd=dict(
                loss=dict(type='mmrazor.MGDLoss', alpha_mgd=7e-5),
                at=[3],
                connector=dict(type='mmrazor.MGDConnector', lambda_mgd=0.15, mask_on_channel=True),
            )
        ),
    ),
    nst=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_nst=dict(
                loss=dict(type='mmrazor.NeuronSelectivityLoss', loss_weight=50.0),
                at='stages',
                connector=None,
            )
        ),
    ),
    # Every stage, with its authors' weight for a two-stage detector's levels: our extension to
    # classification.
    pkd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_pkd=dict(loss=dict(type='mmrazor.PKDLoss', loss_weight=6.0), at='stages')
        ),
    ),
    pkt=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_pkt=dict(
                loss=dict(type='mmrazor.ProbabilisticTransferLoss', loss_weight=30000.0),
                at='pooled',
            )
        ),
    ),
    # As mdistiller does: the student's stages after the ReLU, the teacher's before.
    reviewkd=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_reviewkd=dict(
                loss=dict(type='mmrazor.ReviewKDLoss', loss_weight=0.6),
                at=['stages', 'pooled'],
                position=dict(student='post_relu', teacher='pre_relu'),
                warmup=20,
            )
        ),
    ),
    sp=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_sp=dict(
                loss=dict(type='mmrazor.SimilarityPreservingLoss', loss_weight=3000.0),
                at=[3],
                connector=None,
            )
        ),
    ),
    vid=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_vid=dict(
                loss=dict(type='mmrazor.VariationalInformationLoss', loss_weight=1.0),
                at='stages',
                connector=None,
            )
        ),
    ),
    wsld=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_wsld=dict(loss=dict(type='mmrazor.WSLD', tau=4, loss_weight=2.25), at='logits')
        ),
    ),
)
