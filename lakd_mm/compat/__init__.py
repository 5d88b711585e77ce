"""Repairs of what is broken between the OpenMMLab releases of 2023 and today's torch.

One module per upstream package. Each repair is a small function that says what it repairs and since
which release, and does nothing where upstream is healthy. Nothing of this is needed elsewhere in
the package: ``import lakd_mm`` applies everything.
"""

import importlib
import warnings

# Those above let those below be imported.
REPAIRS = (
    'torch_ao',
    'mmengine_packages',
    'mmengine_allow_list',
    'mmengine_checkpoint',
    'mmengine_dist',
    'mmengine_amp',
    'mmengine_history',
    'mmengine_random',
    'mmpretrain',
    'mmcls',
    'mmrazor',
    'mmdet',
    'mmseg',
)


def apply() -> None:
    """Applies every repair, in the order in which they depend on each other."""
    with warnings.catch_warnings():
        # What upstream imports is deprecated, and mmcv-lite lacks an op that nothing here uses.
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        for name in REPAIRS:
            importlib.import_module(f'{__name__}.{name}').apply()
