# A CIFAR VGG on its own; a config names its depth and number of classes.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARVGG', depth=8),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=100,
        in_channels=512,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),  # as in the literature
    ),
)
