"""Metrics beside the teacher in a training, and the figures that are drawn from it."""

import json
import re

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmrazor.registry import MODELS
from networks import LAKD_CONFIG, cifar_resnet_cfg

import lakd_mm  # noqa: F401

CONFIG = f"""{LAKD_CONFIG}val_dataloader = dict(dataset=dict(indices=33), batch_size=8)
test_dataloader = dict(dataset=dict(indices=33), batch_size=8)
val_evaluator = [
    dict(type='mmpretrain.Accuracy', topk=(1,)),
    dict(type='mmrazor.ExtracurricularKnowledge'),
    dict(type='mmrazor.TeacherAgreement'),
    dict(type='mmrazor.TapDistances'),
]
test_evaluator = val_evaluator
"""
PLAIN = """
_base_ = '{root}/configs/teachers/resnet32_digits.py'
model = dict(backbone=dict(depth={depth}))
test_dataloader = dict(dataset=dict(indices=33))
"""


@pytest.fixture
def config(tmp_path, root):
    """Configs and checkpoints of a small pair."""
    path = tmp_path / 'pair.py'
    path.write_text(CONFIG.format(root=root))
    torch.manual_seed(0)
    for name, depth in (('teacher', 14), ('scratch', 8)):
        (tmp_path / f'{name}.py').write_text(PLAIN.format(root=root, depth=depth))
        network = MODELS.build(cifar_resnet_cfg(depth))
        network.init_weights()
        torch.nn.init.normal_(network.head.fc.weight)
        save_checkpoint(dict(state_dict=network.state_dict()), str(tmp_path / f'{name}.pth'))
    return path


@pytest.mark.slow
def test_metrics_over_a_training(run_tool, tool, config, tmp_path):
    config = config.rename(tmp_path / 'training.py')  # MMEngine keeps one visualizer a name
    assert tool('train', config, '--work-dir', 'run') is None
    (scalars,) = tmp_path.glob('run/*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    logged = [record for record in records if 'tap_distance/tap1' in record]
    assert [record['step'] for record in logged] == [1, 2]
    assert logged[0]['teacher/top1'] == logged[1]['teacher/top1']
    wrong = 33 - round(logged[1]['teacher/top1'] * 33 / 100)
    assert logged[1]['extracurricular_knowledge/teacher_wrong'] == wrong > 0

    # Two processes, with a padded image, report what one does; the teacher is in the checkpoint.
    (tmp_path / 'teacher.pth').unlink()
    options = ('--launcher', 'pytorch', '--out', 'm.json', '--out-item', 'metrics')
    tested = run_tool(
        'test.py', config, 'run/epoch_2.pth', *options, ranks=2, CUDA_VISIBLE_DEVICES=''
    )
    assert tested.returncode == 0, tested.stdout
    found = json.loads((tmp_path / 'm.json').read_text())
    assert len([key for key in found if key in logged[1]]) >= 9
    for key in ('extracurricular_knowledge', 'teacher', 'tap_distance', 'accuracy'):
        for name in (name for name in found if name.startswith(f'{key}/')):
            assert found[name] == pytest.approx(logged[1][name], rel=1e-4), name

    # The same numbers out of the log and out of the checkpoints.
    for source in ('log', 'checkpoints'):
        options = ['--source', source, '--out', f'{source}.png']
        options += ['--images', 100] if source == 'checkpoints' else []
        assert tool('tap_distances', '--run', 'LAKD', 'run', *options) is None
    from_log, measured = (
        json.loads((tmp_path / f'{source}.json').read_text())['LAKD']['distances']
        for source in ('log', 'checkpoints')
    )
    assert list(from_log) == ['tap1', 'tap2', 'tap3']
    for tap, curve in from_log.items():
        expected = {str(r['step']): r[f'tap_distance/{tap}'] for r in logged}
        assert curve == expected == pytest.approx(measured[tap], rel=1e-4)
    assert cv2.imread(str(tmp_path / 'log.png')).std() > 0


def test_what_does_not_fit_fails_before_training(tool, config, tmp_path):
    config.write_text(
        config.read_text().replace("TapDistances'", "TapDistances', teacher_taps=[9]")
    )
    found = tool('train', config)
    assert 'error: TapDistances.teacher_taps=[9]: there is no residual block 9' in found
    assert not list(tmp_path.glob('**/epoch_*.pth'))


def test_a_checkpoint_without_the_teacher(tool, config, tmp_path):
    model = dict(Config.fromfile(config).model, teacher_ckpt=None, save_teacher=False)
    state = MODELS.build(model).state_dict()
    assert not any(key.startswith('teacher.') for key in state)
    save_checkpoint(dict(state_dict=state), str(tmp_path / 'student.pth'))
    command = ('test', config, 'student.pth', '--cfg-options', 'model.save_teacher=False')
    # The config names the teacher, as in training.
    assert tool(*command) is None
    (tmp_path / 'teacher.pth').unlink()
    found = tool(*command)
    assert found.startswith('error: ExtracurricularKnowledge: the teacher has random weights')


def test_cka(tool, config, tmp_path):
    save_checkpoint(
        dict(
            state_dict={
                f'architecture.{key}': value
                for key, value in torch.load(tmp_path / 'scratch.pth')['state_dict'].items()
            }
        ),
        str(tmp_path / 'student.pth'),
    )
    students = [('plain', 'scratch.py', 'scratch.pth'), ('distilled', 'pair.py', 'student.pth')]
    students.append(('teacher', 'teacher.py', 'teacher.pth'))
    arguments = [word for student in students for word in ('--student', *student)]
    arguments += ['--images', 20]
    options = ['--batch-size', 10, '--out', 'f/cka.png']
    assert tool('cka', 'teacher.py', 'teacher.pth', *arguments, *options) is None
    facts = json.loads((tmp_path / 'f/cka.json').read_text())
    plain, distilled, itself = (torch.tensor(student['cka']) for student in facts['students'])
    layers = ['stem', *(f'layer{s}.{b}' for s in (1, 2, 3) for b in (0, 1))]
    assert facts['teacher']['layers'] == layers and facts['images'] == 20
    assert facts['students'][0]['layers'] == ['stem', 'layer1.0', 'layer2.0', 'layer3.0']
    assert plain.shape == (4, 7)
    assert torch.equal(plain, distilled)
    assert torch.allclose(itself.diag(), torch.ones(7)) and torch.allclose(itself, itself.T)
    assert plain.max() < 1
    assert cv2.imread(str(tmp_path / 'f/cka.png')).std() > 0

    arguments += ['--linear', '--student-layers', '1', 'head.fc', '--teacher-layers', 'head.fc']
    assert tool('cka', 'pair.py', 'teacher.pth', *arguments, '--out', 'linear.png') is None
    facts = json.loads((tmp_path / 'linear.json').read_text())
    assert facts['estimator'] == 'linear CKA'
    assert facts['students'][2]['layers'] == ['layer1.0', 'head.fc']
    assert facts['students'][2]['cka'][1] == [1.0]


@pytest.mark.parametrize(
    'name, arguments, message',
    [
        ('cka', ['--student', 'a', 'scratch.py', 'teacher.pth'], 'checkpoint teacher.pth does not'),
        ('cka', ['--student', 'a', 'none.py', 'scratch.pth'], 'config none.py: '),
        (
            'cka',
            ['--student', 'a', 'scratch.py', 'none.pth'],
            "checkpoint 'none.pth' does not exist",
        ),
        ('cka', ['--student', *'abc', '--student', *'abc'], 'names a, a must differ'),
        ('cka', ['--student', *'abc', '--out', 'x.pdf'], 'must end in .png'),
        (
            'cka',
            ['--student', 'a', 'scratch.py', 'scratch.pth', '--teacher-layers', 'head.fx'],
            "no module 'head.fx'; did you mean 'head.fc'",
        ),
        (
            'cka',
            ['--student', 'a', 'scratch.py', 'scratch.pth', '--images', '0'],
            '0 images in batches of 250: both must be positive',
        ),
        (
            'cka',
            ['--student', 'a', 'other_data.py', 'scratch.pth'],
            'a was trained on images normalised by',
        ),
        ('tap_distances', ['--run', 'a', 'none'], 'none is not a folder'),
        ('tap_distances', ['--run', 'a', '.'], 'neither distances in its log nor any epoch_'),
        ('tap_distances', ['--run', 'a', '.', '--source', 'log'], 'no distances in its log'),
        ('tap_distances', ['--run', 'a', 'plain'], 'has no teacher to compare with'),
        ('tap_distances', ['--run', 'a', 'two'], 'it holds 2 configs'),
    ],
)
def test_mistakes(tool, config, tmp_path, name, arguments, message):
    scratch = (tmp_path / 'scratch.py').read_text()
    (tmp_path / 'other_data.py').write_text(scratch + '\ndata_preprocessor = dict(mean=[1.0] * 3)')
    for folder, configs in (('plain', 'a'), ('two', 'ab')):
        (tmp_path / folder).mkdir()
        torch.save({}, tmp_path / folder / 'epoch_1.pth')
        for config_name in configs:
            (tmp_path / folder / f'{config_name}.py').write_text(scratch)
    if name == 'cka':
        arguments = ['teacher.py', 'teacher.pth', *arguments]
    found = tool(name, *arguments)
    assert found.startswith('error: ') and message in found
    assert not re.search('Traceback', found) and not list(tmp_path.glob('**/*.png'))


@pytest.mark.slow
def test_report_of_runs(run_tool, tool, config, tmp_path):
    config = config.rename(tmp_path / 'reported.py')
    assert tool('train', config, '--work-dir', 'run') is None
    (scalars,) = tmp_path.glob('run/*/vis_data/scalars.json')
    # A kill in the middle of a line, and a folder that is alone.
    scalars.write_text(scalars.read_text() + '{"loss": 1')
    logs = ('--run', 'LAKD', 'run', '--images', '0', '--out', 'logs.html')
    for options in (logs, ('--run', 'LAKD', 'run', '--run', 'b', 'run', '--out', 'all.html')):
        result = run_tool('analysis_tools/run_report.py', *options)
        assert result.returncode == 0, result.stdout
    pages = [(tmp_path / name).read_text() for name in ('logs.html', 'all.html')]
    records = [json.loads(line) for line in scalars.read_text().splitlines()[:-1]]
    last = [record for record in records if 'accuracy/top1' in record][-1]
    for page, pictures in zip(pages, (3, 7)):
        assert f'<td>{last["accuracy/top1"]:.2f}</td>' in page
        assert page.count('<img ') == page.count('src="data:image/png;base64,') == pictures
        assert 'http' not in page
    # Of the test images, the checkpoint gets as many right as its validation did.
    right = round(last['accuracy/top1'] * 33 / 100)
    assert f'<code>epoch_2.pth</code>: {right} of 33 test images right' in pages[1]
