import pytest
from mmengine.runner import EpochBasedTrainLoop
from small_run import small_runner

import lakd_mm  # noqa: F401


def build(tmp_path, **train_cfg):
    return small_runner(tmp_path, train_cfg=dict(max_epochs=1, **train_cfg)).train_loop


@pytest.mark.parametrize('kind', ['EpochBasedTrainLoop', EpochBasedTrainLoop])
def test_a_type_beside_the_by_epoch_that_it_agrees_with(tmp_path, kind):
    """As ``--cfg-options train_cfg.type=…`` gives it to a config that has ``by_epoch``."""
    found = build(tmp_path, type=kind, by_epoch=True)
    assert type(found) is EpochBasedTrainLoop and found.max_epochs == 1


def test_one_that_contradicts_is_refused_as_before(tmp_path):
    with pytest.raises(RuntimeError, match='Only one of `type` or `by_epoch`'):
        build(tmp_path, type='EpochBasedTrainLoop', by_epoch=False)
