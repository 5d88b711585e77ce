"""Configs of small classifiers for tests."""


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
