# ResNet-34 teaches ResNet-18 on ImageNet.
head = dict(
    type='mmpretrain.LinearClsHead',
    num_classes=1000,
    in_channels=512,
    loss=dict(type='mmpretrain.CrossEntropyLoss'),
)
student = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=head,
)
teacher = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=34),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=head,
)
model = dict(
    type='mmrazor.LAKD',
    architecture=student,
    teacher=teacher,
    # The paper's taps; the teacher's are those of the same shapes (our reading).
    taps=[1, 2, 4, 8],
    teacher_taps=[1, 3, 7, 16],
    feature_loss=dict(type='mmrazor.NDAMFeatureLoss', avg_weight=0.25, max_weight=0.75),
    # CAT-KD's weight and pooling for this pair.
    attention_loss=dict(type='mmrazor.CATLoss', pool_size=4, loss_weight=0.5),
)
model_wrapper_cfg = dict(type='mmrazor.LocalDistributedDataParallel', broadcast_buffers=False)
