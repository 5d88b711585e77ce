"""What `import lakd_mm` does not load, and that it works all the same."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from lakd_mm.compat.deferred import deferred
from lakd_mm.compat.dense import EXTRAS

HEAVY = {'captum', 'matplotlib', 'pandas', 'pytorch_grad_cam', 'sklearn', 'torchmetrics'}
LOADED = """
import importlib.util
import sys
import lakd_mm
print(*sorted(name for name in sys.modules if '.' not in name or name == 'scipy.stats'))
"""


def test_the_package_loads_nothing_heavy(import_and_run):
    if any(importlib.util.find_spec(name) for name in EXTRAS):
        pytest.skip('MMRazor imports MMDetection and MMSegmentation where they are installed')
    loaded = set(import_and_run(LOADED).split())
    assert 'mmrazor' in loaded
    assert not loaded & {*HEAVY, *EXTRAS} and 'scipy.stats' not in loaded


def test_what_mmrazor_takes_from_them_works():
    from mmrazor.models.distillers import ofd_distiller
    from mmrazor.models.task_modules.predictor import metric_predictor
    from mmrazor.models.task_modules.predictor.handler import CartsHandler

    assert ofd_distiller.norm.cdf(0.0) == 0.5
    assert metric_predictor.stats.kendalltau([1, 2, 3], [1, 2, 3])[0] == pytest.approx(1)
    handler = CartsHandler(num_trees=3)
    inputs = np.array([[0.0], [1.0]])
    handler.fit(inputs, np.array([2.0, 2.0]))
    assert handler.predict(inputs).tolist() == [[2.0], [2.0]]


def test_a_loaded_module_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, 'loaded_already', ModuleType('loaded_already'))
    monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
    before = sys.modules['loaded_already']
    with deferred('loaded_already', 'colorsys'):
        assert sys.modules['loaded_already'] is before
        from colorsys import rgb_to_hsv
    assert sys.modules['loaded_already'] is before and rgb_to_hsv(0, 0, 1) == (2 / 3, 1.0, 1)


def test_a_missing_name_is_named_when_used(monkeypatch):
    monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
    with deferred('colorsys'):
        from colorsys import no_such_name
    with pytest.raises(AttributeError, match="'colorsys' has no attribute 'no_such_name'"):
        no_such_name()
