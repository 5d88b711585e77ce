# Beside a base of MMDetection or MMSegmentation, which brings the rest.
custom_imports = dict(imports=['lakd_mm'], allow_failed_imports=False)

custom_hooks = [dict(type='mmrazor.CheckDataHook'), dict(type='mmrazor.KeepPreviousHook')]
randomness = dict(seed=0)
