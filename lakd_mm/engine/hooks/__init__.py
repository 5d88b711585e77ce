"""Hooks of MMEngine's runner."""

from .check_data_hook import CheckDataHook
from .epoch_record_hook import EpochRecordHook
from .export_student_hook import ExportStudentHook
from .keep_previous_hook import KeepPreviousHook
from .model_for_metrics_hook import ModelForMetricsHook

__all__ = [
    'CheckDataHook',
    'EpochRecordHook',
    'ExportStudentHook',
    'KeepPreviousHook',
    'ModelForMetricsHook',
]
