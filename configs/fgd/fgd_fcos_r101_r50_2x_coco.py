_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
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
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/fcos/'
    'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/'
    'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth',
    input_shape=(3, 128, 128),
)
model.transfers.loss_fgd.loss.update(
    temperature=0.8, alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_=8e-6
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
