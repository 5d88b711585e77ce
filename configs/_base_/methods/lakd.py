# LAKD; a config takes the attention loss of its pair and names the taps.
_base_ = 'cat_kd_losses.py'

method = dict(
    type='mmrazor.LAKD',
    feature_loss=dict(type='mmrazor.NDAMFeatureLoss', avg_weight=0.25, max_weight=0.75),
)

# Keeps the backward local on several GPUs too.
model_wrapper_cfg = dict(type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False)
