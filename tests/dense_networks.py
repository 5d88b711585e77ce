"""What the tests of detection and segmentation need to know."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# 128, so that the smallest level that is distilled is as large as its pooling.
SIZE = 128
FORMATS = {'mmdet': 'coco', 'mmseg': 'cityscapes'}


def needs(package):
    """Skips a test, saying so, where a package or the full mmcv is not installed."""
    missing = any(importlib.util.find_spec(name) is None for name in (package, 'mmcv._ext'))
    reason = f'{package} and the full mmcv are not both installed (make test-dense)'
    return pytest.mark.skipif(missing, reason=reason)


def load_tool(name):
    """A tool as a module."""
    (path,) = ROOT.glob(f'tools/**/{name}.py')
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
