"""Heat maps and curves for MMEngine's visualizer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

import numpy as np
from mmengine.visualization import Visualizer

from ..errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How many names of layers fit along an axis without touching.
_MAX_TICKS = 14
_MAX_COLUMNS = 4


def cka_heat_map(
    matrices: Mapping[str, np.ndarray],
    teacher_layers: Sequence[str],
    student_layers: Mapping[str, Sequence[str]],
    teacher_name: str = 'teacher',
) -> 'Figure':
    """Draw the CKA of students with their teacher side by side, like Fig. 1 of the LAKD paper.

    Args:
        matrices (Mapping[str, np.ndarray]): By the student's name, shape (M, L): the student's
            layers against the teacher's. A value that is not a number is grey.
        teacher_layers (Sequence[str]): Names of the teacher's L layers, first to last.
        student_layers (Mapping[str, Sequence[str]]): Names of each student's M layers.
        teacher_name (str): Label of the axis. Defaults to 'teacher'.

    Returns:
        Figure: One panel for each student, with one colour scale from 0 to 1.
    """
    figure, panels = _grid(len(matrices), (2.9, 3.6), (1.2, 0.4, 0.0), share_y=True)
    style = dict(cmap='magma', origin='lower', aspect='auto', interpolation='none')
    image = None
    for panel, (name, matrix) in zip(panels.flat, matrices.items()):
        matrix = np.ma.masked_invalid(np.asarray(matrix, dtype=float)).T
        panel.set_facecolor('0.8')
        image = panel.imshow(matrix, vmin=0, vmax=1, **style)
        panel.set_title(name, fontsize=10)
        _name_ticks(panel.xaxis, student_layers[name], rotation=90)
        panel.set_xlabel('student', fontsize=9)
    for panel in panels[:, 0]:
        _name_ticks(panel.yaxis, teacher_layers)
        panel.set_ylabel(teacher_name, fontsize=9)
    bar = figure.colorbar(image, ax=panels, label='CKA', shrink=0.9)
    bar.ax.tick_params(labelsize=8)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    x_label: str,
    y_label: str,
    share_y: bool = False,
) -> 'Figure':
    """Draw curves in panels side by side; curves of one name have one colour.

    Args:
        panels (Mapping[str, Mapping[str, tuple]]): By the panel's title and the curve's name, its
            x and y values. A single point is drawn as a point.
        x_label (str): Label under each panel.
        y_label (str): Label at the left.
        share_y (bool): Whether all panels have one y axis. Defaults to False.

    Returns:
        Figure: The panels, with one legend under them.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    # Width of a legend entry in inches, from the longest name.
    entry = 0.7 + 0.07 * max(map(len, names))
    entries = max(1, min(len(names), 5, int((0.6 + 3.1 * min(len(panels), _MAX_COLUMNS)) / entry)))
    around = (0.6, 0.4, 0.2 * math.ceil(len(names) / entries))
    figure, axes = _grid(len(panels), (3.1, 2.6), around, share_y)
    handles = {}
    for axis, (title, lines) in zip(axes.flat, panels.items()):
        axis.set_title(title, fontsize=10)
        for name, (x, y) in lines.items():
            marker = 'o' if len(x) <= 20 else None
            (handles[name],) = axis.plot(
                x, y, color=f'C{names.index(name) % 10}', marker=marker, markersize=3, linewidth=1.4
            )
        axis.set_xlabel(x_label, fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axis.tick_params(labelsize=8)
        axis.grid(color='0.9', linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[['top', 'right']].set_visible(False)
    # Only after all curves are drawn, since this stops shared axes from scaling.
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
    for axis in axes[:, 0]:
        axis.set_ylabel(y_label, fontsize=9)
    style = dict(loc='outside lower center', frameon=False, fontsize=9)
    figure.legend([handles[name] for name in names], names, ncols=entries, **style)
    return figure


def confusion_figure(matrix: np.ndarray, names: Sequence[str]) -> 'Figure':
    """Draw which classes are taken for which.

    Args:
        matrix (np.ndarray): Counts of images, shape (C, C): the true class by the predicted one.
        names (Sequence[str]): Of the C classes.

    Returns:
        Figure: Shares of each true class in colour, counts as numbers.
    """
    figure, panels = _grid(1, (1.5 + 0.35 * len(names),) * 2, (0.6, 0.2, 0.0), share_y=False)
    panel = panels.item()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = 'white' if shares[row, column] > 0.5 else 'black'
            style = dict(ha='center', va='center', fontsize=7, color=color)
            panel.text(column, row, int(count), **style)
    ticks = range(len(names))
    panel.set_xticks(ticks, names, rotation=90, fontsize=8)
    panel.set_yticks(ticks, names, fontsize=8)
    panel.set_xlabel('predicted', fontsize=9)
    panel.set_ylabel('true', fontsize=9)
    return figure


def _grid(
    count: int, size: tuple[float, float], around: tuple[float, float, float], share_y: bool
) -> tuple['Figure', np.ndarray]:
    """Make panels of a size (inches) in rows, with space beside, above and below them."""
    from matplotlib.figure import Figure

    columns = min(count, _MAX_COLUMNS)
    rows = math.ceil(count / columns)
    beside, above, below = around
    inches = (beside + size[0] * columns, above + size[1] * rows + below)
    figure = Figure(figsize=inches, dpi=150, layout='constrained')
    panels = figure.subplots(rows, columns, sharey=share_y, squeeze=False)
    for panel in panels.flat[count:]:
        panel.set_visible(False)
    return figure, panels


def figure_to_array(figure: 'Figure') -> np.ndarray:
    """Render a figure as a picture of shape (H, W, 3), uint8, RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def make_visualizer(path: Union[str, Path], vis_backends: Sequence[str] = ()) -> Visualizer:
    """Open MMEngine's visualizer for a picture with all its backends, so that they fail early.

    Args:
        path (str | Path): The PNG file to write.
        vis_backends (Sequence[str]): More backends that get the picture, such as
            'TensorboardVisBackend'; they write under the folder of ``path``.

    Raises:
        ConfigError: If the file is not a PNG, or a backend is unknown or not installed.
    """
    path = Path(path)
    if path.suffix != '.png':
        raise ConfigError(f'{path}: the name of the picture must end in .png')
    kinds = [dict(type='mmrazor.PictureVisBackend', save_dir=str(path.parent))]
    kinds += [dict(type=name) for name in vis_backends]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        visualizer = Visualizer(vis_backends=kinds, save_dir=str(path.parent))
        for name in visualizer._vis_backends:
            visualizer.get_backend(name).experiment  # noqa: B018  (opens it)
    except (ImportError, KeyError, OSError) as error:
        backends = f' for {", ".join(vis_backends)}' if vis_backends else ''
        raise ConfigError(f'{path}{backends} cannot be written: {error}') from None
    return visualizer


def save_figure(figure: 'Figure', path: Union[str, Path], visualizer: Optional[Visualizer] = None):
    """Have a visualizer, of :func:`make_visualizer`, write a figure as ``….png``; close it."""
    visualizer = visualizer or make_visualizer(path)
    visualizer.add_image(Path(path).stem, figure_to_array(figure))
    visualizer.close()


def _name_ticks(axis, names: Sequence[str], rotation: float = 0):
    """Name positions evenly along an axis, including the first and the last one."""
    count = min(len(names), _MAX_TICKS)
    places = np.linspace(0, len(names) - 1, count).round().astype(int).tolist()
    axis.set_ticks(places, [names[i] for i in places], rotation=rotation, fontsize=7)
