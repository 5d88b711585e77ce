_base_ = ['../_base_/pairs/fcos_r101_r50_2x_coco.py', '../_base_/methods/fgd.py']

model = _base_.method
optim_wrapper = _base_.clipping
model.transfers.loss_fgd.loss.update(
    temperature=0.8, alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_=8e-6
)
