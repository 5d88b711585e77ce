# Beside KD: features and attention inside the teacher's causal mask. The report gives no weights;
# attention has the literature's (AT). Features have 1: at FitNet's 100, whose student adapts to the
# teacher behind a regressor, ResNet-20 stays at chance.
_base_ = 'kd.py'

# The notebook has the 85th percentile; the taps are those of stages with maps large enough for it.
mask = dict(method='gradient', target='label', percentile=85)
place = dict(at=[2, 3], mask=mask)
causal_fa = dict(loss=dict(type='mmrazor.CausalFALoss', loss_weight=1.0), **place)
causal_at = dict(
    loss=dict(type='mmrazor.CausalATLoss', loss_weight=1000.0), connector=None, **place
)
contrast = dict(
    loss=dict(type='mmrazor.ContrastiveAttentionLoss', temperature=0.1), connector=None, **place
)
