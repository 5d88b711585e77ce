"""Algorithms: how a training step runs."""

from .lakd import LAKD
from .local_distill import LocalDistill

__all__ = ['LAKD', 'LocalDistill']
