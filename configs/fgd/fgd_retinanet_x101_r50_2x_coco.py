_base_ = ['../_base_/pairs/retinanet_x101_r50_2x_coco.py', '../_base_/methods/fgd.py']

model = _base_.method
optim_wrapper = _base_.clipping
