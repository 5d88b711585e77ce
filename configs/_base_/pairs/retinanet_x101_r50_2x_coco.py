_base_ = './retinanet_r101_r50_2x_coco.py'

model = dict(
    teacher=dict(backbone=dict(type='ResNeXt', groups=64, base_width=4)),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
    'retinanet_x101_64x4d_fpn_1x_coco/retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',
)
