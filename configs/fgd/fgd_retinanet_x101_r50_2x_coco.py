_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py',
    '../_base_/methods/dense.py',
    '../_base_/dense_runtime.py',
]

model = _base_.pop('methods').fgd
model.update(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(
        _base_.model,
        backbone=dict(
            _base_.model.backbone, type='ResNeXt', groups=64, base_width=4, depth=101, init_cfg=None
        ),
    ),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
    'retinanet_x101_64x4d_fpn_1x_coco/'
    'retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',
    input_shape=(3, 128, 128),
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
