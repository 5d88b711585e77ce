_base_ = [
    'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
    '../dense_runtime.py',
]

student = _base_.model
teacher = dict(
    student,
    pretrained=None,
    backbone=dict(
        type='ResNetV1c',
        depth=101,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=student.backbone.norm_cfg,
        contract_dilation=True,
    ),
    decode_head=dict(student.decode_head, in_channels=2048),
    auxiliary_head=dict(student.auxiliary_head, in_channels=1024),
)
model = dict(
    _delete_=True,
    architecture=student,
    teacher=teacher,
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/'
    'deeplabv3_r101-d8_512x1024_80k_cityscapes/'
    'deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899.pth',
    input_shape=(3, 64, 64),
)
