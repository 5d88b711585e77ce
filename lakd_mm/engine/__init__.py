"""Hooks, checks of configs, and what the command line tools share."""

from .cohort import (
    CohortEvaluator,
    CohortOptimWrapperConstructor,
    cohort_config,
    metric_watcher,
)
from .command_line import (
    OptionsAction,
    add_common_arguments,
    add_run_arguments,
    check_common_arguments,
    clear_errors,
    load_config,
    refuse_ignored_options,
    refuse_overridden_keys,
)
from .config_checks import (
    ConfigError,
    best_half,
    check_amp,
    check_config,
    check_data_folders,
    check_options,
    near_name,
    optim_wrappers,
)
from .export import export_student
from .fused_sgd import FusedSGD
from .guards import add_guards
from .hooks import (
    CheckDataHook,
    CohortCheckpointHook,
    ExportStudentHook,
    FiniteLossHook,
    KeepPreviousHook,
    ModelForMetricsHook,
    StopHook,
)
from .local_ddp import LocalDistributedDataParallel
from .networks import load_network
from .resident_loop import ResidentTrainLoop
from .work_folder import rank_of, work_folder
