"""Check each ``type`` in a config in the registry where MMEngine will look it up."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Optional

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

from ..compat.dense import EXTRAS, check_dense_package
from ..errors import ConfigError, near_names

# By key of the config, the registry of its part. '*' stands for each element or key.
_PLACES = {
    'model': roots.MODELS,
    'data_preprocessor': roots.MODELS,
    'visualizer': roots.VISUALIZERS,
    'visualizer.vis_backends.*': roots.VISBACKENDS,
    'log_processor': roots.LOG_PROCESSORS,
    'model_wrapper_cfg': roots.MODEL_WRAPPERS,
    'optim_wrapper': roots.OPTIM_WRAPPERS,
    'optim_wrapper.optimizer': roots.OPTIMIZERS,
    'param_scheduler.*': roots.PARAM_SCHEDULERS,
    'default_hooks.*': roots.HOOKS,
    'custom_hooks.*': roots.HOOKS,
    **{f'{split}_cfg': roots.LOOPS for split in ('train', 'val', 'test')},
    **{f'{split}_evaluator.*': roots.METRICS for split in ('val', 'test')},
}
for _split in ('train', 'val', 'test'):
    _loader = f'{_split}_dataloader'
    _PLACES.update(
        {
            f'{_loader}.sampler': roots.DATA_SAMPLERS,
            f'{_loader}.batch_sampler': roots.DATA_SAMPLERS,
            f'{_loader}.collate_fn': roots.FUNCTIONS,
        }
    )
# Keys whose dict may leave out the type.
_OPTIONAL = {'data_preprocessor', 'log_processor', 'optim_wrapper', 'model_wrapper_cfg'}
_OPTIONAL |= {'train_cfg', 'val_cfg', 'test_cfg', 'visualizer', 'default_hooks.*'}


def check_scope(cfg: Config) -> None:
    """Check that the package of ``default_scope`` exists.

    Raises:
        ConfigError: If it does not.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    known = sorted({'mmengine', *MODULE2PACKAGE, *EXTRAS})
    if not isinstance(scope, str):
        raise ConfigError(f'default_scope={scope!r} is no name of a package')
    check_dense_package(scope, f'default_scope={scope!r}')
    if scope not in known and scope not in roots.MODELS.children and find_spec(scope) is None:
        raise ConfigError(
            f'default_scope={scope!r}: there is no such package; {near_names(scope, known)}'
        )


def check_names(cfg: Config, splits: Sequence[str]) -> None:
    """Check the types of a config, except those inside its model, which the build checks.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Which of 'train', 'val', 'test' will be used.

    Raises:
        ConfigError: If a type is unknown or missing; it names the key and what is near.
    """
    check_scope(cfg)
    scope = cfg.get('default_scope') or 'mmengine'
    if cfg.get('runner_type') and not is_known('RUNNERS', dict(type=cfg.runner_type), scope):
        raise unknown_type('runner_type', cfg.runner_type, roots.RUNNERS, scope)
    for pattern, registry in _PLACES.items():
        used = pattern.partition('_')[0]
        if used in ('train', 'val', 'test') and used not in splits:
            continue
        for key, part in parts_at(cfg._cfg_dict, pattern):
            if registry is roots.METRICS and is_known('EVALUATOR', part, scope):
                continue
            _check_type(key, part, registry, scope, optional=pattern in _OPTIONAL)
    for split in splits:
        key = f'{split}_dataloader.dataset'
        for _, part in parts_at(cfg._cfg_dict, key):
            _check_dataset(key, part, scope)


def parts_at(node: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a config at a dotted key, with their keys; ``*`` is each element or key.

    A dict in place of a list counts as its only element.
    """
    name, _, rest = pattern.partition('.')
    if name == '*':
        alone = isinstance(node, Mapping) and 'type' in node
        if isinstance(node, Mapping) and not alone:
            found = list(node.items())
        else:
            found = list(enumerate(node)) if isinstance(node, (list, tuple)) else [('', node)]
    else:
        found = [(name, node.get(name))] if isinstance(node, Mapping) else []
    for key, part in found:
        if part is None:
            continue
        if not rest:
            yield str(key), part
            continue
        for inner, deep in parts_at(part, rest):
            yield f'{key}.{inner}'.rstrip('.'), deep


def _check_dataset(key: str, dataset: Any, scope: str) -> None:
    _check_type(key, dataset, roots.DATASETS, scope)
    if not isinstance(dataset, Mapping):
        return
    scope = dataset.get('_scope_') or scope
    if isinstance(dataset.get('dataset'), Mapping):
        _check_dataset(f'{key}.dataset', dataset['dataset'], scope)
    for index, part in enumerate(dataset.get('datasets') or ()):
        _check_dataset(f'{key}.datasets.{index}', part, scope)
    for index, part in enumerate(dataset.get('pipeline') or ()):
        _check_type(f'{key}.pipeline.{index}', part, roots.TRANSFORMS, scope)


def _check_type(
    key: str, part: Any, registry: Registry, scope: str, optional: bool = False
) -> None:
    if not isinstance(part, Mapping):
        if isinstance(part, (str, int, float, bool)):
            raise ConfigError(f'{key}={part!r} is no dict; write {key}=dict(type=…)')
        return
    name = part.get('type')
    if name is None and not optional:
        near = near_names('type', part) if part else 'it is empty'
        raise ConfigError(f'{key} has no type ({near}); name a class of the {registry.name}s')
    if not isinstance(name, str) or is_known(registry, part, scope):
        return
    scope = part.get('_scope_') or scope
    package = name.partition('.')[0]
    if '.' in name:
        check_dense_package(package, f'{key}.type={name!r}')
    raise unknown_type(key, name, registry, scope)


def unknown_type(key: str, name: str, registry: Registry, scope: str) -> ConfigError:
    """Return the error for a type that a registry does not have."""
    known = known_names(registry, scope)
    return ConfigError(
        f'{key}: there is no {name!r} among the {registry.name}s; {near_names(name, known)} A '
        f'class of your own needs custom_imports'
    )


def is_known(registry: Any, part: Any, scope: str) -> bool:
    """Tell whether a registry has the type of a part of a config, seen from a scope."""
    name = part.get('type') if isinstance(part, Mapping) else None
    if not isinstance(name, str):
        return False
    registry = getattr(roots, registry) if isinstance(registry, str) else registry
    scope = part.get('_scope_') or scope
    with suppress(ImportError):
        importlib.import_module(f'{scope}.registry')
    if scope not in registry.children:
        return registry.get(name) is not None
    with registry.switch_scope_and_registry(scope) as inner:
        return inner.get(name) is not None


def known_names(registry: Registry, scope: Optional[str]) -> list[str]:
    """List the types of a registry as a config writes them: with a prefix outside their scope."""
    found = list(registry.module_dict)
    for name, child in registry.children.items():
        child.import_from_location()
        own = name == scope
        found += [item if own else f'{name}.{item}' for item in child.module_dict]
    return found
