# LAKD's recipe for CIFAR: 300 epochs, the learning rate falling linearly to 0.
optim_wrapper = dict(
    # SGD to the bit, and faster on a CPU.
    optimizer=dict(type='mmrazor.FusedSGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
# Its end is max_epochs. A step each iteration is our reading; the paper says "linear decay".
param_scheduler = dict(type='PolyLR', power=1.0, eta_min=0.0, convert_to_iter_based=True)

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=64)
