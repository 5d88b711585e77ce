# MobileNetV2 or a ShuffleNet for CIFAR on its own; a config names which.
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARMobileNetV2'),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=100,
        in_channels=1280,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),  # as in the literature
    ),
)
