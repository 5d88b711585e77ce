# Methods for detectors and segmenters; a config takes the one that it names:
# _base_.pop('methods').fgd
methods = dict(
    # CanKD of a detector's first four levels, with its authors' weight.
    cankd_neck=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_cankd=dict(loss=dict(type='mmrazor.CanKDLoss'), at=dict(neck=[0, 1, 2, 3]))
        ),
    ),
    # CanKD of a segmenter's last stage, with its authors' weight and connector.
    cankd_backbone=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_cankd=dict(
                loss=dict(type='mmrazor.CanKDLoss'),
                at=dict(student=['backbone.layer4'], teacher=['backbone.layer4']),
                connector=dict(type='mmrazor.ConvModuleConnector', norm_cfg=None, act_cfg=None),
            )
        ),
    ),
    # FGD of every level of a detector, with its authors' weights for RetinaNet.
    fgd=dict(
        type='mmrazor.Distill',
        transfers=dict(loss_fgd=dict(loss=dict(type='mmrazor.FGDLoss'), at='neck')),
        inherit=['neck', 'bbox_head'],
    ),
)
