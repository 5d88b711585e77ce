# A CIFAR ResNet on its own; a config names its depth and number of classes.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=20),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=100,
        in_channels=64,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        init_cfg=None,  # torch's own, as in the literature
    ),
)
