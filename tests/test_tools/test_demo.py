import importlib.util
import json
import re
import sys

import pytest

pytestmark = pytest.mark.slow

SMALL = """
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
val_dataloader = dict(dataset=dict(indices=32))
test_dataloader = dict(dataset=dict(indices=32))
"""


@pytest.fixture
def demo(root, tmp_path, monkeypatch):
    """tools/demo.py, with a smaller pair and fewer images."""
    (tmp_path / 'teacher.py').write_text(
        "_base_ = 'lakd_mm::teachers/resnet32_digits.py'\nmodel = dict(backbone=dict(depth=14))"
        + SMALL
    )
    (tmp_path / 'pair.py').write_text(
        "_base_ = 'lakd_mm::lakd/lakd_r32_r14_digits.py'\n"
        'model = dict(taps=[1, 3], teacher_taps=[2, 6], architecture=dict(backbone=dict(depth=8)), '
        'teacher=dict(backbone=dict(depth=14)))' + SMALL
    )
    spec = importlib.util.spec_from_file_location('tools_demo', root / 'tools/demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RUNS = {'teacher': tmp_path / 'teacher.py', 'pair': tmp_path / 'pair.py'}
    monkeypatch.chdir(tmp_path)

    def run_demo(*arguments):
        monkeypatch.setattr(sys, 'argv', ['demo.py', *arguments])
        module.main()

    run_demo.runs = module.RUNS
    return run_demo


def test_demo(demo, run_tool, tmp_path, capfd):
    demo('--epochs', '1')
    shown = capfd.readouterr().out
    results = json.loads((tmp_path / 'work_dirs/demo/results.json').read_text())
    assert [row['network'] for row in results] == ['teacher', 'pair']
    # ResNet-14 and ResNet-8: of the pair only the student counts.
    assert [row['parameters'] for row in results] == [175258, 78042]
    for row, name in zip(results, ('teacher', 'pair')):
        assert (row['epochs'], row['epoch']) == (1, 1)
        assert row['checkpoint'] == f'work_dirs/demo/{name}/epoch_1.pth'
        assert (tmp_path / row['checkpoint']).is_file()
        assert f'epoch  1/1   accuracy {row["accuracy"]:6.2f} %' in shown
    assert 'model.teacher_ckpt=work_dirs/demo/teacher/epoch_1.pth' in shown
    table = (tmp_path / 'work_dirs/demo/results.md').read_text()
    assert table in shown
    assert re.search(rf'{results[1]["accuracy"]:.2f} \| +78,042 \|', table)

    demo('--epochs', '1')
    again = capfd.readouterr().out
    assert again.count('done before') == 2 and '$' not in again and table in again

    # The teacher's checkpoint that the config names does not exist, and is not asked for.
    checkpoint = 'work_dirs/demo/pair/epoch_1.pth'
    tested = run_tool('test.py', 'pair.py', checkpoint, '--work-dir', 'tested')
    assert tested.returncode == 0, tested.stdout
    assert f'accuracy/top1: {results[1]["accuracy"]:.4f}' in tested.stdout


def test_demo_killed_before_the_last_validation(demo, tmp_path, capfd):
    """Nothing is left to train, but the accuracy is not known: it trains again."""
    demo.runs.pop('pair')
    demo('--epochs', '2')
    work_dir = tmp_path / 'work_dirs/demo/teacher'
    record = json.loads((work_dir / 'demo.json').read_text())
    (work_dir / 'demo.json').write_text(json.dumps({**record, 'epoch': 1}))
    capfd.readouterr()

    demo('--epochs', '2')
    shown = capfd.readouterr().out
    assert shown.count('--resume') == 1
    assert re.findall(r'epoch +(\d)/2', shown) == ['1', '2']
    assert json.loads((work_dir / 'demo.json').read_text())['epoch'] == 2
    (previous,) = work_dir.glob('previous_*')
    assert (previous / 'epoch_2.pth').is_file()


def test_demo_stops_at_an_error(demo, tmp_path):
    pair = tmp_path / 'teacher.py'
    pair.write_text(pair.read_text().replace('depth=14', 'depth=13'))
    with pytest.raises(SystemExit, match='error: the command above failed'):
        demo('--epochs', '1')
