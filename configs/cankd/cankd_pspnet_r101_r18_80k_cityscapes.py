_base_ = ['../_base_/pairs/pspnet_r101_r18_cityscapes.py', '../_base_/methods/cankd_backbone.py']

model = _base_.method
