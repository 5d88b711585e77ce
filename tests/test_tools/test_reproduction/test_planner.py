import pytest
import torch

from lakd_mm.errors import ConfigError
from reproduction.planner import Settings, plan_runs
from reproduction.targets import Budget, Cell, method_cell

PAIR = """
_base_ = 'tiny.py'
model = dict(
    _delete_=True,
    type='mmrazor.LAKD',
    architecture=_base_.model,
    teacher=_base_.model,
    teacher_ckpt='work_dirs/tiny/epoch_1.pth',
    taps=[1, 2, 3],
    teacher_taps=[1, 2, 3],
)
"""


@pytest.fixture
def lakd(tiny_root):
    (tiny_root / 'configs' / 'teachers' / 'lakd.py').write_text(PAIR)
    return Cell('lakd', 'tiny', 'lakd_tiny', 'digits', {'300e': 'teachers/lakd.py'})


def test_runs_of_options(tiny_runs):
    runs = tiny_runs(seeds=(0, 2), epochs=7, fraction=0.1)
    assert [run.id for run in runs] == [
        'digits/scratch_tiny/300e-7e-f0.1/seed0',
        'digits/scratch_tiny/300e-7e-f0.1/seed2',
    ]
    assert [run.cfg.randomness.seed for run in runs] == [0, 2]
    assert runs[1].epochs == 7 and runs[1].recipe_epochs == 1


def test_as_many_epochs_as_the_recipe_are_the_full_run(tiny_runs):
    assert tiny_runs(epochs=1)[0].id == tiny_runs()[0].id == 'digits/scratch_tiny/300e/seed0'


def test_a_missing_teacher_is_named_with_what_trains_it(tiny_runs, lakd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        tiny_runs(cells=[lakd])
    assert str(error.value) == (
        'lakd_tiny: the teacher work_dirs/tiny/epoch_1.pth does not exist. Train it, python '
        'tools/train.py configs/teachers/tiny.py, or name another: --teacher-ckpt lakd_tiny=PATH'
    )
    assert not (tmp_path / 'work').exists()


def test_teachers_of_the_command_line(tiny_root, lakd, tmp_path):
    (tmp_path / 'weights').mkdir()
    inside, other = tmp_path / 'weights' / 'epoch_1.pth', tmp_path / 'other.pth'
    torch.save({}, inside), torch.save({}, other)

    def teacher(name, path):
        settings = Settings(tiny_root, tmp_path / 'work', teachers=((name, str(path)),))
        (run,) = plan_runs([lakd], Budget(), [0], settings)
        return run

    run = teacher('', inside.parent)
    assert (run.cfg.model.teacher_ckpt, run.id) == (str(inside), 'digits/lakd_tiny/300e/seed0')
    assert run.facts['teacher'] == 'epoch_1.pth'
    run = teacher('lakd_tiny', other)
    assert run.cfg.model.teacher_ckpt == str(other)
    # Another teacher is another run.
    assert run.id == 'digits/lakd_tiny/300e-teacher_other/seed0'
    with pytest.raises(ConfigError, match="lakd_tny=.*no run has a teacher.*'lakd_tiny'"):
        teacher('lakd_tny', other)
    with pytest.raises(ConfigError, match='absent.pth: there is no such file'):
        teacher('', tmp_path / 'absent.pth')


def test_all_that_is_missing_is_one_error(tiny_runs, tiny_root, lakd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absent = [
        Cell(name, 'tiny', name, 'digits', {'300e': f'kd/{name}.py'}) for name in ('kd_a', 'kd_b')
    ]
    with pytest.raises(ConfigError) as error:
        tiny_runs(cells=[lakd, *absent])
    assert str(error.value) == (
        '2 things are missing.\n'
        '  kd_a: configs/kd/kd_a.py does not exist; leave it out by --methods and --pairs.\n'
        '  kd_b: configs/kd/kd_b.py does not exist; leave it out by --methods and --pairs.'
    )
    text = (tiny_root / 'configs' / 'teachers' / 'tiny.py').read_text()
    data = "train_dataloader['dataset'] = dict(_delete_=True, type='mmpretrain.CustomDataset', "
    data += "data_root='nowhere')\n"
    (tiny_root / 'configs' / 'teachers' / 'far.py').write_text(text + data)
    far = [Cell(name, 'tiny', name, 'digits', {'300e': 'teachers/far.py'}) for name in ('a', 'b')]
    with pytest.raises(ConfigError, match=r'^a, b: train_dataloader.dataset.data_root: nowhere d'):
        tiny_runs(cells=far)


def test_a_model_that_cannot_be_built(tiny_runs):
    with pytest.raises(ConfigError, match='scratch_tiny: CIFARResNet: depth=9 is not 6n'):
        tiny_runs(options=(('model.backbone.depth', 9),))
    with pytest.raises(ConfigError, match='its model cannot be built: .*unexpected .*_colour'):
        tiny_runs(options=(('model.backbone.its_colour', 'red'),))


def test_recipes(tiny_runs):
    with pytest.raises(ConfigError, match='it has no config for --recipe 240e; choose 300e'):
        tiny_runs(recipe='240e')


def test_the_teacher_is_tested_once(root, tmp_path):
    checkpoint = tmp_path / 'resnet56.pth'
    torch.save({}, checkpoint)
    settings = Settings(root, tmp_path / 'work', teachers=(('resnet56', str(checkpoint)),))
    cell = method_cell('teacher', 'r56_r20', 'cifar100')
    (run,) = plan_runs([cell], Budget(epochs=3, fraction=0.1), [0, 1, 2], settings)
    assert run.id == 'cifar100/teacher_r56_r20/resnet56'
    command = run.prepare()
    assert command[1].endswith('tools/test.py') and command[3] == str(checkpoint)
