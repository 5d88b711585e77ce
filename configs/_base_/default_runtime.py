_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='accuracy/top1', rule='greater'),
    check_data=dict(type='mmrazor.CheckDataHook'),
    keep_previous=dict(type='mmrazor.KeepPreviousHook'),
    model_for_metrics=dict(type='mmrazor.ModelForMetricsHook'),
)
randomness = dict(seed=0)
