"""Repairs of what is broken between the OpenMMLab releases of 2023 and today's torch.

There is one module per upstream package. Each repair is a small function that says what it repairs
and since which release, and does nothing where upstream is healthy. ``import lakd_mm`` applies
everything, so the rest of the package needs none of this.
"""

import importlib
import os
import warnings

# Later modules cannot be imported before the earlier ones are applied.
REPAIRS = (
    'torch_ao',
    'mmengine_packages',
    'mmengine_config',
    'mmengine_allow_list',
    'mmengine_whole',
    'mmengine_checkpoint',
    'mmengine_dist',
    'mmengine_accumulation',
    'mmengine_amp',
    'mmengine_history',
    'mmengine_loop',
    'mmengine_random',
    'mmengine_validation',
    'mmengine_weights',
    'mmcv_images',
    'mmpretrain',
    'mmcls',
    'mmrazor',
    'dense',
)


def apply() -> None:
    """Apply every repair, in order of their dependencies."""
    # OpenCV reads it when it is imported: an image of more pixels takes 800 MB, from a small file.
    os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(2**28))
    with warnings.catch_warnings():
        # Upstream imports deprecated names, and mmcv-lite lacks an op that nothing here uses.
        # Python 3.12 warns of escapes in its strings, too.
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', SyntaxWarning)
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        for name in REPAIRS:
            importlib.import_module(f'{__name__}.{name}').apply()
