# Beside KD: features and attention inside the teacher's causal mask. The report gives no weights;
# these are the literature's of the same losses without a mask (FitNet, AT).
_base_ = 'kd.py'

# The notebook has the 85th percentile; the taps are those of stages with maps large enough for it.
mask = dict(method='gradient', target='label', percentile=85)
place = dict(at=[2, 3], mask=mask)
causal_fa = dict(loss=dict(type='mmrazor.CausalFALoss', loss_weight=100.0), **place)
causal_at = dict(
    loss=dict(type='mmrazor.CausalATLoss', loss_weight=1000.0), connector=None, **place
)
contrast = dict(
    loss=dict(type='mmrazor.ContrastiveAttentionLoss', temperature=0.1), connector=None, **place
)
