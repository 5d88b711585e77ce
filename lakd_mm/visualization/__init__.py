"""Figures that show what networks learn."""

from .attention_maps import attention_figure
from .backend import PictureVisBackend
from .figures import (
    cka_heat_map,
    confusion_figure,
    curves,
    figure_to_array,
    make_visualizer,
    save_figure,
)
