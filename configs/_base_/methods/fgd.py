# FGD of every level of a detector, with its authors' weights for RetinaNet.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(loss_fgd=dict(loss=dict(type='mmrazor.FGDLoss'), at='neck')),
    inherit=['neck', 'bbox_head'],
)
clipping = dict(clip_grad=dict(max_norm=35, norm_type=2))
