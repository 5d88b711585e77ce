# ResNet-56 teaches ResNet-20.
head = dict(
    type='mmpretrain.LinearClsHead',
    num_classes=100,
    in_channels=64,
    loss=dict(type='mmpretrain.CrossEntropyLoss'),
    init_cfg=None,  # torch's own, as in the literature
)
student = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=20),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=head,
)
teacher = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=56),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=head,
)
