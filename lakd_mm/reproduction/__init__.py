"""The tables of the LAKD paper: which runs they need, the runs, and the report."""

from .epoch_record_hook import EpochRecordHook

__all__ = ['EpochRecordHook']
