_base_ = './cankd_fcos_r101_r50_2x_coco.py'

model = dict(inherit=['neck', 'bbox_head'])
