# LAKD; a config adds the taps and the weight of the attention loss of its pair.
methods = dict(
    lakd=dict(
        type='mmrazor.LAKD',
        feature_loss=dict(type='mmrazor.NDAMFeatureLoss', avg_weight=0.25, max_weight=0.75),
        attention_loss=dict(type='mmrazor.CATLoss'),
    )
)

# Keeps the backward local on several GPUs too.
model_wrapper_cfg = dict(type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False)
