# The recipe of the report on causal-masked distillation (Ben Simon, Aviv and Loria, Afeka College):
# at most 30 epochs at one learning rate. For data with a validation split, such as cifar10_val.py.
_base_ = 'cifar_300e_linear.py'

optim_wrapper = dict(optimizer=dict(lr=0.01, nesterov=False))
param_scheduler = []
train_cfg = dict(max_epochs=30)
custom_hooks = [
    # The report says no more than "early stopping"; any gain counts, a tie does not.
    dict(
        type='EarlyStoppingHook',
        monitor='accuracy/top1',
        rule='greater',
        min_delta=0.01,
        patience=5,
        strict=True,
    )
]
