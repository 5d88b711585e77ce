_base_ = [
    '../_base_/models/resnet_pair.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').lakd
model.attention_loss.update(loss_weight=0.7)
model.update(
    architecture=dict(backbone=dict(depth=20), head=dict(num_classes=10)),
    teacher=dict(backbone=dict(depth=56), head=dict(num_classes=10)),
    teacher_ckpt='https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/'
    'cifar10_resnet56-187c023a.pt',
    taps=[1, 4, 9],
    teacher_taps=[9, 18, 27],
)
