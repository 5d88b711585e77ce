_base_ = ['../_base_/pairs/faster_rcnn_r101_r50_2x_coco.py', '../_base_/methods/fgd.py']

model = _base_.method
optim_wrapper = _base_.clipping
# The fifth level is the fourth, subsampled.
model.transfers.loss_fgd['at'] = dict(neck=[0, 1, 2, 3])
model.transfers.loss_fgd.loss.update(alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7)
model.inherit = ['neck', 'rpn_head', 'roi_head']
