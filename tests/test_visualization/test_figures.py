import json

import cv2
import numpy as np
import pytest
from mmengine.visualization import Visualizer

from lakd_mm.errors import ConfigError
from lakd_mm.visualization import (
    PictureVisBackend,
    cka_heat_map,
    curves,
    figure_to_array,
    make_visualizer,
    save_figure,
)


@pytest.fixture
def heat_map():
    matrices = {'a': np.eye(3, 40), 'b': np.full((5, 40), np.nan)}
    layers = {'a': ['stem', 'x', 'y'], 'b': [f's{i}' for i in range(5)]}
    return cka_heat_map(matrices, [f't{i}' for i in range(40)], layers)


def test_heat_map(heat_map):
    first, second, bar = heat_map.axes
    assert [panel.get_title() for panel in (first, second)] == ['a', 'b']
    # The student's layers run to the right, the teacher's upwards.
    values = first.images[0].get_array()
    assert values.shape == (40, 3) and np.array_equal(
        np.argwhere(values), [[i, i] for i in range(3)]
    )
    assert first.images[0].origin == 'lower'
    assert second.images[0].get_array().mask.all()
    assert {image.get_clim() for panel in (first, second) for image in panel.images} == {(0, 1)}
    assert [label.get_text() for label in first.get_xticklabels()] == ['stem', 'x', 'y']
    teacher = [label.get_text() for label in first.get_yticklabels()]
    assert (teacher[0], teacher[-1]) == ('t0', 't39') and 10 < len(teacher) < 20
    assert bar.get_ylabel() == 'CKA'


def test_labels_do_not_overlap(heat_map):
    figure_to_array(heat_map)
    boxes = [label.get_window_extent() for label in heat_map.axes[0].get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in zip(boxes, boxes[1:]))
    assert all(box.x0 >= 0 for box in boxes)


def test_curves():
    lines = {'tap 1': {'a': ([1, 2], [4, 3]), 'b': ([1], [2])}, 'tap 2': {'b': ([1], [5])}}
    figure = curves(lines, 'epoch', 'distance')
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ('tap 1', 'tap 2')
    assert first.lines[0].get_xydata().tolist() == [[1, 4], [2, 3]]
    assert first.lines[1].get_color() == second.lines[0].get_color() != first.lines[0].get_color()
    assert first.get_ylim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['a', 'b']
    assert figure_to_array(figure).std() > 0
    shared = curves(lines, 'epoch', 'distance', share_y=True)
    assert len({axis.get_ylim() for axis in shared.axes}) == 1 and shared.axes[0].get_ylim()[1] >= 5
    assert first.get_ylim()[1] < 5


def test_save_figure(heat_map, tmp_path):
    """As PNG under the name that was asked for, and to other backends."""
    path = tmp_path / 'new' / 'cka.v1.png'
    save_figure(heat_map, path, make_visualizer(path, ['LocalVisBackend']))
    names = 'cka.v1.png', 'vis_data/vis_image/cka.v1_0.png'
    first, second = (cv2.imread(str(tmp_path / 'new' / name)) for name in names)
    array = figure_to_array(heat_map)
    assert first.shape == array.shape and array.dtype == np.uint8
    assert np.array_equal(first, second) and first.std() > 0


@pytest.mark.parametrize(
    'name, backends, message',
    [
        ('a.pdf', [], 'must end in .png'),
        ('a.png', ['TensorBoard'], 'TensorBoard is not in'),
        ('file/a.png', [], 'file'),
    ],
)
def test_mistakes(tmp_path, name, backends, message):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match=message):
        make_visualizer(tmp_path / name, backends)


def test_backend(tmp_path):
    """Of the Visualizer of a run; scalars are kept as LocalVisBackend keeps them."""
    backend = dict(type='mmrazor.PictureVisBackend', save_dir=str(tmp_path))
    visualizer = Visualizer(vis_backends=[backend])
    assert isinstance(visualizer._vis_backends['PictureVisBackend'], PictureVisBackend)
    red = np.zeros((4, 5, 3), dtype=np.uint8)
    red[..., 0] = 255
    visualizer.add_image('a/red', red)
    visualizer.add_scalars(dict(x=1.5), step=3)
    assert cv2.imread(str(tmp_path / 'a/red.png'))[0, 0].tolist() == [0, 0, 255]
    assert json.loads((tmp_path / 'scalars.json').read_text()) == dict(x=1.5, step=3)
    (tmp_path / 'b.png').mkdir()
    with pytest.raises(OSError, match='the picture cannot be written: .*b.png'):
        visualizer.add_image('b', red)
