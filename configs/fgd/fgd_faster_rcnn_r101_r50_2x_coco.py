_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py',
    '../_base_/methods/dense.py',
    '../_base_/dense_runtime.py',
]

model = _base_.pop('methods').fgd
model.update(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(
        _base_.model,
        backbone=dict(_base_.model.backbone, depth=101, init_cfg=None),
    ),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/'
    'faster_rcnn_r101_fpn_2x_coco/'
    'faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth',
    input_shape=(3, 128, 128),
)
# The fifth level is the fourth, subsampled.
model.transfers.loss_fgd['at'] = dict(neck=[0, 1, 2, 3])
model.transfers.loss_fgd.loss.update(alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7)
model.inherit = ['neck', 'rpn_head', 'roi_head']
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
