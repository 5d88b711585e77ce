# HMAT-style for networks of four stages.
_base_ = 'hmat.py'

method = dict(transfers=dict(loss_activation=dict(at=[2, 3, 4]), loss_channel=dict(at=[4])))
