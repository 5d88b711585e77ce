_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py',
    '../_base_/methods/dense.py',
    '../_base_/dense_runtime.py',
]

model = _base_.pop('methods').cankd_neck
model.update(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(
        _base_.model,
        backbone=dict(_base_.model.backbone, depth=101, init_cfg=None),
    ),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
    'retinanet_r101_fpn_2x_coco/'
    'retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',
    input_shape=(3, 128, 128),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.005, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
auto_scale_lr = dict(base_batch_size=4)
