import pytest
import torch
from mmengine.config import Config


@pytest.mark.slow
def test_students_side_by_side(run_tool, tiny_config, tmp_path):
    """Two configs and two seeds; each is what tools/train.py trains, and is gone on with."""
    lakd = tmp_path / 'lakd.py'
    student = '_base_.model.backbone.depth'
    lakd.write_text(
        "_base_ = 'tiny.py'\n"
        f'assert {student} == 8\n'
        "model = dict(_delete_=True, type='mmrazor.LAKD', architecture=_base_.model, "
        'teacher=_base_.model)\n'
    )
    members = [f'scratch={tiny_config}', f'lakd={lakd}']
    options = ['--seeds', '0', '4', '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=2']
    result = run_tool('train_cohort.py', *members, *options)
    assert result.returncode == 0, result.stdout
    names = [f'{name}_seed{seed}' for name in ('scratch', 'lakd') for seed in (0, 4)]
    for name in names:
        assert f'{name}/accuracy/top1' in result.stdout
        assert (tmp_path / 'w' / name / 'epoch_2.pth').is_file()
    cfg = Config.fromfile(tmp_path / 'w/lakd_seed4/config.py')
    assert cfg.randomness.seed == 4 and cfg.model.type == 'mmrazor.LAKD'

    alone = run_tool('train.py', tiny_config, '--seed', '0', '--cfg-options', *options[-1:])
    assert alone.returncode == 0, alone.stdout
    found, expected = (
        torch.load(tmp_path / path / 'epoch_2.pth')['state_dict']
        for path in ('w/scratch_seed0', 'work_dirs/tiny')
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())

    tested = run_tool('test.py', 'w/lakd_seed0/config.py', 'w/lakd_seed0/epoch_2.pth')
    assert tested.returncode == 0, tested.stdout
    again = run_tool('train_cohort.py', *members, *options, '--resume')
    assert again.returncode == 0, again.stdout
    assert 'resumed epoch: 2' in again.stdout and 'Epoch(train)' not in again.stdout
    anew = run_tool('train_cohort.py', *members, *options[:-1], 'train_cfg.max_epochs=1')
    assert anew.returncode == 0, anew.stdout
    (aside,) = (tmp_path / 'w/lakd_seed0').glob('previous_*')
    assert (aside / 'epoch_2.pth').is_file()


def test_wrong_members_are_one_error(tool, tiny_config):
    other = '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=2'
    twice = tool('train_cohort', tiny_config, tiny_config, *other)
    assert twice == 'error: tiny: two members have this name; give NAME=CONFIG'
    absent = tool('train_cohort', 'a=absent.py', *other)
    assert absent.startswith('error: config absent.py:')
