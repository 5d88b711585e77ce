_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _base_.method,
    # By shape, so that the third stage is not aligned (our reading).
    taps=[1, 2, 4, 8],
    teacher_taps=[1, 3, 7, 16],
    attention_loss=_base_.cat_loss.r34_r18,
    # Memory peaks in the stem.
    teacher_twice=True,
)
train_dataloader = dict(batch_size=512)
