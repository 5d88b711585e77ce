_base_ = [
    '../_base_/pairs/deeplabv3_r101_mbv2_cityscapes.py',
    '../_base_/methods/cankd_backbone.py',
]

model = _base_.method
model.transfers.loss_cankd['at'] = dict(student=['backbone.layer7'], teacher=['backbone.layer4'])
