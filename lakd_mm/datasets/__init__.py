"""Data sets, registered into MMRazor's ``DATASETS``."""

from .digits import Digits
from .in_memory import InMemory, whole_batch

__all__ = ['Digits', 'InMemory', 'whole_batch']
