"""Hooks of MMEngine's runner."""

from .check_data_hook import CheckDataHook
from .keep_previous_hook import KeepPreviousHook

__all__ = ['CheckDataHook', 'KeepPreviousHook']
