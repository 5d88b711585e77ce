_base_ = 'mobile_cifar.py'

# A network of another family teaches one; a pair names both and the teacher's checkpoint.
model = dict(_delete_=True, architecture=_base_.model, teacher=_base_.model)
