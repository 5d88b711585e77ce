# The trial run's images are large enough for a pooling of the smallest map that is distilled.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py',
    '../dense_runtime.py',
]

model = dict(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(_base_.model, backbone=dict(_base_.model.backbone, depth=101, init_cfg=None)),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
    'retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',
    input_shape=(3, 128, 128),
)
