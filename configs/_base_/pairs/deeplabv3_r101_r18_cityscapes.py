_base_ = [
    'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    '../dense_runtime.py',
]

student = _base_.model
teacher = dict(
    student,
    pretrained=None,
    backbone=dict(student.backbone, depth=101),
    decode_head=dict(student.decode_head, in_channels=2048, channels=512),
    auxiliary_head=dict(student.auxiliary_head, in_channels=1024, channels=256),
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
