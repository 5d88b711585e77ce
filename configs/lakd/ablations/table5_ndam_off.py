_base_ = '../lakd_r56_r20_cifar10.py'

# Table 5
model = dict(
    taps=[3, 6, 9],
    feature_loss=dict(avg_weight=0.0, max_weight=0.0),
)
