"""Attention maps over test images, with several networks side by side."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

import numpy as np
import torch
from mmrazor.registry import MODELS
from torch import nn

from ..errors import ConfigError, check_installed
from ..evaluation.features import record
from ..models.losses import NDAMFeatureLoss
from ..models.places.cams import cam_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# The image below is grey, so all colour comes from the map.
_COLOURS = dict(cmap='turbo', alpha=0.55, interpolation='bilinear')
# Title of the column with NDAM's weight.
WEIGHT = 'weight W'
_CELL = 1.05  # inches
_CHARACTERS = 16  # per cell


def feature_maps(network: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """Sum the absolute values of a layer's channels (LAKD, Eq. 11).

    Args:
        network (nn.Module): A classifier in eval mode.
        layer (str): Module name.
        images (torch.Tensor): Prepared, shape (N, C, H, W).

    Returns:
        torch.Tensor: Shape (N, h, w).
    """
    return _maps_of(network, layer, images).abs().sum(dim=1)


def ndam_maps(
    teacher: nn.Module,
    teacher_layer: str,
    students: Mapping[str, tuple[nn.Module, str]],
    images: torch.Tensor,
    loss: Optional[NDAMFeatureLoss] = None,
) -> dict[str, torch.Tensor]:
    """Make feature maps without and with LAKD's weight of each position in its feature loss.

    Args:
        teacher (nn.Module): The teacher in eval mode.
        teacher_layer (str): Its tap, whose feature gives the weight (Eq. 11 and 12).
        students (Mapping[str, tuple]): By name, a student and its tap.
        images (torch.Tensor): Prepared, shape (N, C, H, W).
        loss (NDAMFeatureLoss, optional): The loss with its alpha and beta. Defaults to its own.

    Returns:
        Dict[str, Tensor]: By the name of the column, shape (N, h, w): the teacher's map, the weight
        W (mean 1), their product; then each student's map and its product with W.
    """
    loss = loss or NDAMFeatureLoss()
    feature = _maps_of(teacher, teacher_layer, images)
    total = feature.abs().sum(dim=1)
    weight = loss.mapping(feature, feature.shape[2:])[:, 0]
    columns = {'teacher': total, WEIGHT: weight, 'teacher · W': weight * total}
    for name, (student, layer) in students.items():
        total = feature_maps(student, layer, images)
        columns[name] = total
        columns[f'{name} · W'] = loss.mapping(feature, total.shape[1:])[:, 0] * total
    return columns


def class_activation_maps(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Compute the positive part of the class activation map of each image's class.

    As CAT-KD's, with the network's last map and what its head does with it, see :func:`cam_place`.

    Args:
        network (nn.Module): A classifier in eval mode.
        images (torch.Tensor): Prepared, shape (N, C, H, W).
        labels (torch.Tensor): Classes, shape (N,).

    Returns:
        torch.Tensor: Shape (N, h, w), not negative.

    Raises:
        ConfigError: If its head is not linear in a pooled map; says why.
    """
    place = cam_place(network, images.shape[1:], type(network).__name__, trained=False)
    connector = MODELS.build(place['connector'])
    for module in connector.modules():
        if hasattr(module, 'attach'):
            module.attach(network)
    source, inputs = place['recorder']['source'], place['recorder']['type'].endswith('Inputs')
    layer = f'input:{source}' if inputs else source
    with torch.no_grad():
        maps = connector.forward_train(record(network, [layer], images)[layer])
    return maps[torch.arange(len(maps), device=maps.device), labels].clamp(min=0)


def grad_cam_maps(
    network: nn.Module, layer: str, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Compute Grad-CAM of each image's class, with the library grad-cam, scaled to 0 … 1.

    From `Grad-CAM <https://arxiv.org/abs/1610.02391>`_.

    Args:
        network (nn.Module): A classifier in eval mode.
        layer (str): Module name.
        images (torch.Tensor): Prepared, shape (N, C, H, W).
        labels (torch.Tensor): Classes, shape (N,).

    Returns:
        torch.Tensor: Shape (N, H, W).

    Raises:
        ConfigError: If the library is missing, or the layer has no maps.
    """
    check_grad_cam()
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    _maps_of(network, layer, images[:1])
    targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
    with torch.enable_grad(), GradCAM(network, [network.get_submodule(layer)]) as grad_cam:
        try:
            # Images need gradients, in case the weights of the network are frozen.
            maps = grad_cam(images.clone().requires_grad_(), targets)
        except AttributeError as error:
            raise ConfigError(
                f'Grad-CAM needs a layer that gives one tensor, such as a residual block; '
                f'{layer} does not ({error})'
            ) from None
    network.zero_grad()
    return torch.from_numpy(maps)


def check_grad_cam():
    """Raise a ConfigError if the library grad-cam is not installed."""
    check_installed('Grad-CAM needs the library', 'figures', {'pytorch_grad_cam': 'grad-cam'})


def attention_figure(
    images: np.ndarray,
    names: Sequence[str],
    groups: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    shared: bool = False,
    notes: Optional[Mapping[str, Sequence[str]]] = None,
) -> 'Figure':
    """Draw maps over images: a row for each image, a column for the image and for each network.

    Args:
        images (np.ndarray): Shape (N, H, W, 3), uint8, RGB.
        names (Sequence[str]): Names of what they show, N.
        groups (Sequence[tuple[str, Mapping]]): Groups of columns: a description of the maps, for
            the colour bar, and maps by the column's title, shape (N, h, w), which are stretched
            over the image.
        shared (bool): Whether a colour means the same value in a whole group, which then has a
            colour bar of its own. By default it is relative to the range of one map, from 0 for the
            smallest value to 1 for the largest.
        notes (Mapping[str, Sequence[str]], optional): By the title of a column, a line under each
            of its maps.

    Returns:
        Figure: The picture.
    """
    from matplotlib.figure import Figure

    widths = [1.0]
    for _, columns in groups:
        widths += [0.12, *[1.0] * len(columns)]
    inches = (0.9 + _CELL * sum(widths), 1.0 + 1.14 * _CELL * len(images))
    figure = Figure(figsize=inches, dpi=150, layout='compressed')
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.0, hspace=0.0)
    grid = figure.add_gridspec(len(images), len(widths), width_ratios=widths)
    for i, name in enumerate(names):
        panel = _panel(figure, grid[i, 0], 'input' if i == 0 else '')
        panel.imshow(images[i], interpolation='nearest')
        panel.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=8)

    grey = images @ np.array([0.299, 0.587, 0.114])
    extent = (0, images.shape[2], images.shape[1], 0)
    drawn, column = [], 1
    for label, columns in groups:
        low, high = 0.0, 1.0
        if shared:
            low = min(maps.min() for maps in columns.values())
            high = max(maps.max() for maps in columns.values())
        panels = []
        for title, maps in columns.items():
            column += 1
            for i, map_ in enumerate(maps):
                panel = _panel(figure, grid[i, column], title if i == 0 else '')
                panel.imshow(grey[i], cmap='gray', vmin=-128, vmax=255, extent=extent)
                map_ = map_ if shared else _over_own_range(map_)
                image = panel.imshow(map_, vmin=low, vmax=high, extent=extent, **_COLOURS)
                if notes and title in notes:
                    panel.set_xlabel(notes[title][i], fontsize=6, labelpad=1.5)
                panels.append(panel)
        column += 1
        drawn.append((image, panels, label, len(columns)))
    if not shared:
        label = ' and '.join(dict.fromkeys(label for label, _ in groups))
        label += '; 0: the smallest of a map, 1: the largest'
        drawn = [(image, figure.axes, label, int(sum(widths)))]
    for image, panels, label, count in drawn:
        _colour_bar(figure, image, panels, textwrap.fill(label, _CHARACTERS * count), count)
    return figure


def _maps_of(network: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """Return a layer's output, shape (N, C, h, w)."""
    feature = record(network, [layer], images)[layer]
    if feature.dim() != 4:
        raise ConfigError(
            f'{layer} gives tensors of shape {tuple(feature.shape)}, not maps (N, C, H, W); name '
            f'another layer'
        )
    return feature


def _panel(figure: 'Figure', cell, title: str) -> 'Axes':
    panel = figure.add_subplot(cell)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    lines = [textwrap.fill(line, _CHARACTERS) for line in title.splitlines()]
    panel.set_title('\n'.join(lines), fontsize=8)
    return panel


def _over_own_range(map_: np.ndarray) -> np.ndarray:
    """Scale to 0 … 1; a map without variation becomes 0."""
    low, high = map_.min(), map_.max()
    return (map_ - low) / (high - low) if high > low else np.zeros_like(map_)


def _colour_bar(
    figure: 'Figure', image: 'AxesImage', panels: Sequence['Axes'], label: str, columns: int
):
    size = dict(pad=0.02, fraction=0.03, shrink=0.8, aspect=9 * columns)
    bar = figure.colorbar(image, ax=panels, location='bottom', **size)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)
