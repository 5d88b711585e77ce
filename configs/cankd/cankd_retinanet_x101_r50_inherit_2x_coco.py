_base_ = './cankd_retinanet_x101_r50_2x_coco.py'

model = dict(inherit=['neck', 'bbox_head'])
