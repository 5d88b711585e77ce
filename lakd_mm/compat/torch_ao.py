"""Repairs of ``torch.ao.quantization``, whose removed names MMRazor imports.

``mmrazor.structures`` builds its quantization backends when imported, and nearly all of MMRazor
imports it. If one name is missing, ``mmrazor.models`` fails with ``torch>=1.13 is not installed
properly``. Nothing here runs during distillation.
"""

import importlib
from typing import Callable

from torch.ao.quantization import fuser_method_mappings as mappings
from torch.ao.quantization.backend_config import BackendPatternConfig

# Setters that `BackendPatternConfig` lost, and the attribute that each one set.
LOST_SETTERS = {
    '_set_overwrite_output_fake_quantize': '_overwrite_output_fake_quantize',
    '_set_overwrite_output_observer': '_overwrite_output_observer',
    '_set_input_output_observed': '_input_output_observed',
}


def restore_fuser_helpers() -> None:
    """Restore three wrappers of fuser methods (removed in torch 2.0, which reverses patterns).

    They adapt a method that takes modules in order of execution to MMRazor's patterns, which name
    the last module first.
    """

    def reverse2(fuse: Callable) -> Callable:
        return lambda is_qat, last, first: fuse(is_qat, first, last)

    def reverse3(fuse: Callable) -> Callable:
        return lambda is_qat, last, firsts: fuse(is_qat, firsts[1], firsts[0], last)

    def reverse_sequential_wrapper2(sequential: Callable) -> Callable:
        return lambda is_qat, last, first: sequential(first, last)

    for helper in (reverse2, reverse3, reverse_sequential_wrapper2):
        if not hasattr(mappings, helper.__name__):
            setattr(mappings, helper.__name__, helper)


def restore_pattern_setters() -> None:
    """Restore the setters that ``BackendPatternConfig`` lost in torch 2.0."""

    def make_setter(attribute: str) -> Callable:
        def setter(self: BackendPatternConfig, value: object) -> BackendPatternConfig:
            setattr(self, attribute, value)
            return self

        return setter

    for name, attribute in LOST_SETTERS.items():
        if not hasattr(BackendPatternConfig, name):
            setattr(BackendPatternConfig, name, make_setter(attribute))


def apply() -> None:
    """Apply every repair of this module."""
    restore_fuser_helpers()
    restore_pattern_setters()
    # `BackendConfig` uses it as an attribute but never imports it.
    importlib.import_module('torch.ao.quantization.backend_config.utils')
