_base_ = [
    'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
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
        backbone=dict(_base_.model.backbone, depth=101),
        decode_head=dict(_base_.model.decode_head, in_channels=2048, channels=512),
        auxiliary_head=dict(_base_.model.auxiliary_head, in_channels=1024, channels=256),
    ),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/'
    'pspnet_r101-d8_512x1024_80k_cityscapes/'
    'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth',
    input_shape=(3, 64, 64),
)
