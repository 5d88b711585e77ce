_base_ = ['../_base_/pairs/retinanet_x101_r50_2x_coco.py', '../_base_/methods/cankd_neck.py']

model = _base_.method
optim_wrapper = _base_.optimizer_of_4_images
auto_scale_lr = dict(base_batch_size=4)
