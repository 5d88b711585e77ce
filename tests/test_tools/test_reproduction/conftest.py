"""A checkout in small: one config that trains in seconds, beside the real tools."""

from pathlib import Path

import pytest

import lakd_mm  # noqa: F401
from reproduction.planner import Settings, plan_runs
from reproduction.targets import Budget, Cell

TINY = Cell('scratch', 'tiny', 'scratch_tiny', 'digits', {'300e': 'teachers/tiny.py'})


@pytest.fixture
def tiny_root(tiny_config, tmp_path, root) -> Path:
    """Holds configs/ and tools/."""
    checkout = tmp_path / 'checkout'
    (checkout / 'configs' / 'teachers').mkdir(parents=True)
    tiny_config.rename(checkout / 'configs' / 'teachers' / 'tiny.py')
    (checkout / 'tools').symlink_to(root / 'tools')
    return checkout


@pytest.fixture
def tiny_runs(tiny_root, tmp_path):
    """Plans runs of the tiny config."""

    def plan(seeds=(0,), cells=(TINY,), val_interval=1, **budget):
        settings = Settings(tiny_root, tmp_path / 'work', val_interval=val_interval)
        return plan_runs(cells, Budget(**budget), seeds, settings)

    return plan
