# Class attention transfer; a config takes the loss of its pair.
_base_ = 'cat_kd_losses.py'

method = dict(type='mmrazor.Distill', transfers=dict(loss_cat=dict(at='cams')))
