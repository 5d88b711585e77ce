"""Figures of what networks learn."""

from .backend import PictureVisBackend
from .figures import cka_heat_map, curves, figure_to_array, make_visualizer, save_figure

__all__ = [
    'PictureVisBackend',
    'cka_heat_map',
    'curves',
    'figure_to_array',
    'make_visualizer',
    'save_figure',
]
