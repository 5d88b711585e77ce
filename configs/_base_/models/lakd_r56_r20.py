_base_ = 'r56_r20.py'

model = dict(
    type='mmrazor.LAKD',
    architecture=_base_.student,
    teacher=_base_.teacher,
    taps=[1, 4, 9],
    teacher_taps=[9, 18, 27],
    feature_loss=dict(type='mmrazor.NDAMFeatureLoss', avg_weight=0.25, max_weight=0.75),
    # CAT-KD's weight for this pair; the paper names none.
    attention_loss=dict(type='mmrazor.CATLoss', loss_weight=0.7),
)

# Keeps the backward local on several GPUs too.
model_wrapper_cfg = dict(type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False)
