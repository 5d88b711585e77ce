"""Algorithms: how a training step runs."""

from .distill import Distill
from .lakd import LAKD

__all__ = ['LAKD', 'Distill']
