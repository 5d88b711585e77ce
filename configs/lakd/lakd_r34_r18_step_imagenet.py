_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/lakd.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e_step.py',
    '../_base_/default_runtime.py',
]

model = _base_.pop('methods').lakd
model.attention_loss.update(pool_size=4, loss_weight=0.5)
model.update(
    # By shape, so that the third stage is not aligned (our reading).
    taps=[1, 2, 4, 8],
    teacher_taps=[1, 3, 7, 16],
    # Memory peaks in the stem.
    teacher_twice=True,
)
train_dataloader = dict(batch_size=512)
