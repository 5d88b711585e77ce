"""Hooks that every training has, whatever its config says."""

from mmengine.config import Config

from ..models.nested import type_name

GUARDS = ('mmrazor.FiniteLossHook', 'mmrazor.StopHook', 'mmrazor.CheckDataHook')


def add_guards(cfg: Config):
    """Add the hooks that guard a training to its config, unless it names them itself."""
    hooks = list(cfg.get('custom_hooks') or [])
    given = [*hooks, *filter(None, cfg.get('default_hooks', {}).values())]
    names = {type_name(hook) for hook in given if isinstance(hook, dict)}
    if 'check_data' in cfg.get('default_hooks', {}):
        names.add('CheckDataHook')  # the config has it, or switches it off with None
    missing = [name for name in GUARDS if name.rpartition('.')[2] not in names]
    cfg.custom_hooks = [*hooks, *(dict(type=name) for name in missing)]
