"""Small networks for tests, and configs of them."""

import torch

# LAKD on a few digits, for the command line tools.
LAKD_CONFIG = """
_base_ = '{root}/configs/lakd/lakd_r32_r14_digits.py'
model = dict(
    architecture=dict(backbone=dict(depth=8)),
    teacher=dict(backbone=dict(depth=14)),
    teacher_ckpt='teacher.pth',
    taps=[1, 2, 3],
    teacher_taps=[2, 4, 6],
)
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
train_cfg = dict(max_epochs=2)
"""


def scatter_statistics(network):
    """Weights and statistics of BatchNorm that are not those it starts with; in eval mode."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-1, 1, generator=generator)
    return network.eval()


def classifier_cfg(backbone, num_classes=10, in_channels=64, **head):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=backbone,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=num_classes,
            in_channels=in_channels,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
            **head,
        ),
    )


def cifar_resnet_cfg(depth, num_classes=10, widen_factor=1, **backbone):
    return classifier_cfg(
        dict(type='mmrazor.CIFARResNet', depth=depth, widen_factor=widen_factor, **backbone),
        num_classes,
        in_channels=64 * widen_factor,
    )


def cifar_wrn_cfg(depth, widen_factor=1, num_classes=10, **backbone):
    return classifier_cfg(
        dict(type='mmrazor.CIFARWideResNet', depth=depth, widen_factor=widen_factor, **backbone),
        num_classes,
        in_channels=64 * widen_factor,
    )


def cifar_vgg_cfg(depth, num_classes=10, **backbone):
    return classifier_cfg(
        dict(type='mmrazor.CIFARVGG', depth=depth, **backbone), num_classes, in_channels=512
    )
