# ResNet-34 teaches ResNet-18. The teacher is OpenMMLab's; the literature's (73.31 top-1) is
# torchvision's.
network = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=1000,
        in_channels=512,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    ),
)
model = dict(
    architecture=network,
    teacher=dict(network, backbone=dict(type='mmpretrain.ResNet', depth=34)),
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet34_8xb32_in1k_20210831-f257d4e6.pth',
    input_shape=(3, 224, 224),
)
