_base_ = [
    'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
    '../_base_/methods/dense.py',
    '../_base_/dense_runtime.py',
]

model = _base_.pop('methods').cankd_backbone
model.update(
    _delete_=True,
    architecture=_base_.model,
    teacher=dict(
        _base_.model,
        pretrained=None,
        backbone=dict(
            type='ResNetV1c',
            depth=101,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            norm_cfg=_base_.model.backbone.norm_cfg,
            contract_dilation=True,
        ),
        decode_head=dict(_base_.model.decode_head, in_channels=2048),
        auxiliary_head=dict(_base_.model.auxiliary_head, in_channels=1024),
    ),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/'
    'deeplabv3_r101-d8_512x1024_80k_cityscapes/'
    'deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899.pth',
    input_shape=(3, 64, 64),
)
model.transfers.loss_cankd['at'] = dict(student=['backbone.layer7'], teacher=['backbone.layer4'])
