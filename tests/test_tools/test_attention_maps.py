"""The figure as the tool makes it; the maps themselves are tested beside the package."""

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from mmrazor.registry import MODELS

import lakd_mm  # noqa: F401

PLAIN = """
_base_ = '{root}/configs/teachers/resnet32_digits.py'
model = dict(backbone=dict(depth={depth}), head=dict(num_classes={classes}))
test_dataloader = dict(dataset=dict(indices=33))
"""
STUDENT = ('--student', 'small', 'small.py', 'small.pth')


@pytest.fixture(autouse=True)
def networks(tmp_path, root):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    for name, depth, classes in (('teacher', 14, 10), ('small', 8, 10), ('other', 8, 3)):
        config = tmp_path / f'{name}.py'
        config.write_text(PLAIN.format(root=root, depth=depth, classes=classes))
        network = MODELS.build(Config.fromfile(config).model)
        save_checkpoint(dict(state_dict=network.state_dict()), str(tmp_path / f'{name}.pth'))


@pytest.fixture
def drawn(monkeypatch):
    """What the tool hands to ``attention_figure``."""
    from lakd_mm.visualization import attention_maps

    calls = []
    figure = attention_maps.attention_figure
    monkeypatch.setattr(
        attention_maps, 'attention_figure', lambda *args: calls.append(args) or figure(*args)
    )
    return calls


@pytest.mark.parametrize(
    'options, columns',
    [
        ((), [['teacher\nlayer3.1', 'small\nlayer3.0']]),
        (
            ('--taps', '1', 'backbone.layer3', '--teacher-taps', '2', '6', '--shared-scale'),
            [['teacher\nlayer1.1', 'small\nlayer1.0'], ['teacher\nlayer3.1', 'small\nlayer3']],
        ),
        (
            ('--kind', 'ndam', '--avg-weight', '0.5'),
            [['weight W'], ['teacher\nlayer3.1', 'teacher · W', 'small\nlayer3.0', 'small · W']],
        ),
        (('--kind', 'cam'), [['teacher\nbackbone', 'small\nbackbone']]),
        (('--kind', 'gradcam'), [['teacher\nlayer3.1', 'small\nlayer3.0']]),
    ],
)
def test_figure(tool, drawn, tmp_path, options, columns):
    arguments = ('--images', 3, '--out', 'f/maps.png', *options)
    assert tool('attention_maps', 'teacher.py', 'teacher.pth', *STUDENT, *arguments) is None
    picture = cv2.imread(str(tmp_path / 'f' / 'maps.png'))
    assert picture.std() > 0 and picture.shape[1] > 150 * (1 + sum(map(len, columns)))
    ((images, names, groups, shared, notes),) = drawn
    assert images.shape == (3, 32, 32, 3) and images.std() > 0
    assert len(names) == 3 and set(names) <= set('0123456789')
    assert [list(maps) for _, maps in groups] == columns
    assert shared is ('--shared-scale' in options)
    assert all(note.endswith('%') for lines in notes.values() for note in lines)
    assert set(notes) <= {title for group in columns for title in group} and len(notes) == 2
    for _, maps in groups:
        assert all(map_.shape[0] == 3 and map_.std() > 0 for map_ in maps.values())


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((*STUDENT, *STUDENT), 'names teacher, small, small must differ'),
        (('--images', 0), 'a picture has room for 1 to 40'),
        (('--out', 'a.jpg'), 'must end in .png'),
        ((*STUDENT, '--taps', 1), 'must pair up, but there are 1 and 0'),
        (('--taps', 1), 'there is no --student'),
        (('--kind', 'cam', '--teacher-taps', 1), 'of the last map before the pooling'),
        (('--max-weight', 1), 'belong to --kind ndam'),
        (('--teacher-taps', 7), '--teacher-taps=[7]: there is no residual block 7'),
        (
            ('--kind', 'cam', '--student', 'a', 'other.py', 'other.pth'),
            'a has 3 classes, but the test images',
        ),
        (('--student', 'a', 'small.py', 'teacher.pth'), 'checkpoint teacher.pth does not fit'),
    ],
)
def test_refusals(tool, tmp_path, arguments, message):
    found = tool('attention_maps', 'teacher.py', 'teacher.pth', '--out', 'maps.png', *arguments)
    assert found.startswith('error: ') and message in found
    assert not (tmp_path / 'maps.png').exists()
