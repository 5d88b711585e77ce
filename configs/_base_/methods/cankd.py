# CanKD at the end of each stage: our extension to classification, with its authors' weight.
method = dict(
    type='mmrazor.Distill',
    transfers=dict(loss_cankd=dict(loss=dict(type='mmrazor.CanKDLoss'), at='stages')),
)
