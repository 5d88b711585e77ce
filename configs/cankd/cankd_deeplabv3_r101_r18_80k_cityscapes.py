_base_ = ['../_base_/pairs/deeplabv3_r101_r18_cityscapes.py', '../_base_/methods/cankd_backbone.py']

model = _base_.method
