"""Configs of losses and connectors, completed with what the networks tell."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names


def class_of(cfg: Any, key: str) -> type:
    """Return the class that a config names."""
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ConfigError(f'{key}={cfg!r}: give a dict with a type')
    cls, scope = cfg['type'], cfg.get('_scope_')
    if isinstance(cls, str):
        cls = MODELS.get(f'{scope}.{cls}' if scope and '.' not in cls else cls)
    if cls is None:
        raise ConfigError(
            f'{key}: type={cfg["type"]!r} is not registered; '
            f'{near_names(cfg["type"], (f"mmrazor.{name}" for name in MODELS.module_dict))}'
        )
    return cls


def fill(cfg: Any, key: str, **found) -> dict:
    """Add known arguments to a config that its class takes and the config leaves out."""
    cls = class_of(cfg, key)
    signature = inspect.signature(cls)
    missing = {
        name: value
        for name, value in found.items()
        if name in signature.parameters and name not in cfg and value is not None
    }
    filled = dict(cfg, **missing)
    try:
        signature.bind(**{name: filled[name] for name in filled.keys() - {'type', '_scope_'}})
    except TypeError as error:
        raise ConfigError(f'{key}: {cfg["type"]}: {error}') from None
    return filled
