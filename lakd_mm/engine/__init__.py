"""Hooks, checks of configs, and what the command line tools share."""

from .command_line import (
    OptionsAction,
    add_common_arguments,
    check_common_arguments,
    clear_errors,
    load_config,
    refuse_ignored_options,
    refuse_overridden_keys,
)
from .config_checks import (
    ConfigError,
    check_amp,
    check_data_folders,
    check_options,
    near_name,
)
from .export import export_student
from .hooks import CheckDataHook, ExportStudentHook, KeepPreviousHook, ModelForMetricsHook
from .local_ddp import LocalDistributedDataParallel
from .networks import load_network

__all__ = [
    'CheckDataHook',
    'ConfigError',
    'ExportStudentHook',
    'KeepPreviousHook',
    'LocalDistributedDataParallel',
    'ModelForMetricsHook',
    'OptionsAction',
    'add_common_arguments',
    'check_amp',
    'check_common_arguments',
    'check_data_folders',
    'check_options',
    'clear_errors',
    'export_student',
    'load_config',
    'load_network',
    'near_name',
    'refuse_ignored_options',
    'refuse_overridden_keys',
]
