"""Algorithms: how a training step runs."""

from .cohort import Cohort
from .distill import Distill
from .lakd import LAKD

__all__ = ['LAKD', 'Cohort', 'Distill']
