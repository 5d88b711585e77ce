_base_ = [
    '../_base_/models/kd_r56_r20.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_step.py',
    '../_base_/default_runtime.py',
]

published = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet'
model = dict(teacher_ckpt=f'{published}/cifar100_resnet56-f2eff4c8.pt')
