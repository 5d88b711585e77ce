# CanKD of a detector's first four levels, with its authors' weight and optimizer (2 GPUs of 2
# images).
method = dict(
    type='mmrazor.Distill',
    transfers=dict(
        loss_cankd=dict(loss=dict(type='mmrazor.CanKDLoss'), at=dict(neck=[0, 1, 2, 3]))
    ),
)
optimizer_of_4_images = dict(
    optimizer=dict(lr=0.005, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
