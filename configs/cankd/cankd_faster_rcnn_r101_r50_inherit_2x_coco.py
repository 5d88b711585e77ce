_base_ = './cankd_faster_rcnn_r101_r50_2x_coco.py'

model = dict(inherit=['neck', 'rpn_head', 'roi_head'])
