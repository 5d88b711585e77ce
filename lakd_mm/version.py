"""The version of the package, and the releases of other packages that it works with."""

__version__ = '0.2.0'

# Ranges that `lakd_mm.compat` covers; `requirements/runtime.txt` pins the tested releases.
REQUIREMENTS = (
    'torch>=2.6,<3',
    'torchvision>=0.21,<1',
    'mmengine>=0.10.7,<1.0',
    'mmpretrain>=1.2.0,<1.3',
    'mmrazor>=1.0.0,<1.1',
    'joblib',
)
# Checked, and not declared: pip would write mmcv-lite over the files of a full mmcv.
MMCV = 'mmcv-lite>=2.0.0,<=2.1.0'
# What may be installed in place of one of these. The full mmcv has the files of mmcv-lite, and the
# compiled ops; OneDL's packages are the same modules, kept up after OpenMMLab stopped.
ALTERNATIVES = {
    'mmcv-lite': ('mmcv>=2.0.0,<=2.1.0', 'onedl-mmcv>=2.3,<2.4'),
    'mmengine': ('onedl-mmengine>=0.10.8,<1.0',),
    'mmpretrain': ('onedl-mmpretrain>=1.3,<1.4',),
}
