# Images of several sizes, and MSRA's weights ("caffe"), as in the student's and teacher's results.
_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
    '../dense_runtime.py',
]

model = dict(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(_base_.model, backbone=dict(_base_.model.backbone, depth=101, init_cfg=None)),
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/fcos/'
    'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/'
    'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth',
    input_shape=(3, 128, 128),
)
