_base_ = [
    '../_base_/models/lakd_r56_r20.py',
    '../_base_/datasets/cifar10_folder.py',
    '../_base_/schedules/cifar_300e_linear.py',
    '../_base_/default_runtime.py',
]

published = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet'
model = dict(
    architecture=dict(head=dict(num_classes=10)),
    teacher=dict(head=dict(num_classes=10)),
    teacher_ckpt=f'{published}/cifar10_resnet56-187c023a.pt',
)
