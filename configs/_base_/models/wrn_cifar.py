# A CIFAR wide ResNet on its own; a config names its depth, width and number of classes.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARWideResNet', depth=16, widen_factor=2),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=100,
        in_channels=128,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        # torch's own, but with a bias of 0, as in the literature
        init_cfg=dict(
            type='Kaiming',
            layer='Linear',
            a=5**0.5,
            mode='fan_in',
            nonlinearity='leaky_relu',
            distribution='uniform',
        ),
    ),
)
