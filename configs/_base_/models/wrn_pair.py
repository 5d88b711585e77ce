_base_ = 'wrn_cifar.py'

# One teaches another; a pair names their sizes and the teacher's checkpoint.
model = dict(_delete_=True, architecture=_base_.model, teacher=_base_.model)
