"""Hooks for MMEngine's runner."""

from .check_data_hook import CheckDataHook
from .cohort_checkpoint_hook import CohortCheckpointHook
from .epoch_record_hook import EpochRecordHook
from .export_student_hook import ExportStudentHook
from .finite_loss_hook import FiniteLossHook
from .keep_previous_hook import KeepPreviousHook
from .model_for_metrics_hook import ModelForMetricsHook
from .stop_hook import StopHook
