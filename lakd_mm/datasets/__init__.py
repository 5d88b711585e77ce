"""Data sets, registered in MMRazor's ``DATASETS``."""

from .class_share import class_share
from .digits import Digits
from .in_memory import InMemory, whole_batch

__all__ = ['Digits', 'InMemory', 'class_share', 'whole_batch']
