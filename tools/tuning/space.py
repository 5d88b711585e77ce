"""What is searched: keys of a config, each with the values that it may have."""

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmpretrain.registry
import yaml
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope

from lakd_mm.errors import ConfigError, near_names

KINDS = ('log', 'float', 'int', 'choice')
# What the search sets itself, or would make trials that cannot be compared.
OURS = (
    'train_cfg', 'val_', 'test_', 'train_dataloader.dataset', 'work_dir', 'resume', 'load_from',
    'launcher', 'experiment_name', 'default_hooks', 'custom_hooks',
)  # fmt: skip
# Where the members of a cohort may differ.
OF_MEMBERS = ('model', 'optim_wrapper', 'param_scheduler', 'randomness')
OF_TEACHER = ('model.teacher', 'model.teacher_ckpt', 'model.save_teacher', 'model.lean_teacher')


@dataclass(frozen=True)
class Parameter:
    """A key of the config that a search sets.

    Args:
        key (str): Its name, with dots.
        kind (str): 'log' (a float whose logarithm is drawn evenly), 'float', 'int' or 'choice'.
        values (tuple): Lowest and highest value; for 'choice' all values.
    """

    key: str
    kind: str
    values: tuple

    def suggest(self, trial: Any) -> Any:
        """Return what Optuna proposes for a trial."""
        if self.kind == 'choice':
            labels = [_label(value) for value in self.values]
            return copy.deepcopy(
                self.values[labels.index(trial.suggest_categorical(self.key, labels))]
            )
        if self.kind == 'int':
            return trial.suggest_int(self.key, *self.values)
        return trial.suggest_float(self.key, *self.values, log=self.kind == 'log')

    def value_of(self, params: Mapping[str, Any]) -> Any:
        """Return the config's value from the parameters that Optuna keeps of a trial."""
        value = params[self.key]
        if self.kind != 'choice':
            return value
        return next(copy.deepcopy(one) for one in self.values if _label(one) == value)

    def checked(self, value: Any) -> Any:
        """Return a value that was given by hand as Optuna keeps it.

        Raises:
            ConfigError: If it is not in the range.
        """
        if self.kind == 'choice':
            inside = _as_number(value) in self.values
            value = _label(_as_number(value)) if inside else value
        else:
            number = _as_number(value)
            kinds = (int,) if self.kind == 'int' else (int, float)
            inside = type(number) in kinds and self.values[0] <= number <= self.values[1]
            value = number
        if not inside:
            raise ConfigError(f'--first: {self.key}={value} is not in {self}')
        return value

    def __str__(self) -> str:
        """Return it as it is written on the command line."""
        separator = ',' if self.kind == 'choice' else ':'
        return f'{self.key}={self.kind}:{separator.join(str(value) for value in self.values)}'


def _label(value: Any) -> Any:
    """Turn a value into one of the kinds that Optuna's storages keep."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def read_space(texts: Sequence[str]) -> list[Parameter]:
    """Read what ``--space`` was given.

    Args:
        texts (Sequence[str]): ``KEY=log:LOW:HIGH``, ``float:``, ``int:`` or ``choice:A,B,C``, or
            paths of YAML files that map keys to these or to lists of choices.

    Raises:
        ConfigError: If one cannot be read, a range is empty, or a key comes twice.
    """
    found: dict[str, Parameter] = {}
    for text in texts:
        key, equals, spec = text.partition('=')
        for name, value in [(key, spec)] if equals else _read_file(text).items():
            if name in found:
                raise ConfigError(f'--space {name}: it is given twice; give one')
            found[name] = _parse(str(name), value)
    return list(found.values())


def _read_file(path: str) -> dict:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f'--space {path}: no KEY=KIND:… and no YAML file of these that can be read '
            f'({" ".join(str(error).split())})'
        ) from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(f'--space {path}: a file holds lines KEY: KIND:…, as a.b: log:0.1:100')
    return content


def _parse(key: str, spec: Any) -> Parameter:
    wrong = f'--space {key}={spec}'
    if isinstance(spec, list):
        return _choice(key, spec, wrong)
    kind, _, rest = str(spec).partition(':')
    if kind not in KINDS:
        kinds = 'log:LOW:HIGH, float:LOW:HIGH, int:LOW:HIGH or choice:A,B,C'
        raise ConfigError(f'{wrong}: {kind!r} is no kind of range; write {kinds}')
    if kind == 'choice':
        try:
            return _choice(key, yaml.safe_load(f'[{rest}]'), wrong)
        except yaml.YAMLError:
            raise ConfigError(f'{wrong}: the choices cannot be read; write A,B,C') from None
    values = [_number(text, wrong, kind) for text in rest.split(':')]
    if len(values) != 2:
        raise ConfigError(f'{wrong}: give two numbers, as in {kind}:1:100')
    if values[0] >= values[1]:
        raise ConfigError(f'{wrong}: the range is empty; the second number has to be the larger')
    if kind == 'log' and values[0] <= 0:
        raise ConfigError(
            f'{wrong}: a logarithm needs numbers above 0; begin above it, or use float'
        )
    return Parameter(key, kind, tuple(values))


def _choice(key: str, values: list, wrong: str) -> Parameter:
    values = tuple(_as_number(value) for value in values)
    labels = [_label(value) for value in values]
    if len(set(labels)) < 2 or len(set(labels)) < len(labels):
        raise ConfigError(f'{wrong}: give at least two choices, each once')
    return Parameter(key, 'choice', values)


def _as_number(value: Any) -> Any:
    """Read the numbers that YAML takes for text: 1e-3."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _number(text: str, wrong: str, kind: str) -> float:
    try:
        value = int(text) if kind == 'int' else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        whole = 'whole ' if kind == 'int' else ''
        raise ConfigError(f'{wrong}: {text!r} is no {whole}number')
    return value


def read_points(path: str, space: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Read what ``--first`` was given: a YAML list of points of the space, whole or in part.

    Args:
        path (str): The file; each point maps keys to values.
        space (Sequence[Parameter]): What is searched.

    Returns:
        List[Dict[str, Any]]: The points as Optuna keeps them.

    Raises:
        ConfigError: If the file cannot be read, or a key or value is not in the space.
    """
    try:
        points = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'--first {path}: {" ".join(str(error).split())}') from None
    if not points or not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
        raise ConfigError(f'--first {path}: a file holds a list of points, as - {{a.b: 10}}')
    known = {parameter.key: parameter for parameter in space}
    for key in (key for point in points for key in point):
        if key not in known:
            raise ConfigError(f'--first {path}: {key} is not searched; {near_names(key, known)}')
    return [{key: known[key].checked(value) for key, value in p.items()} for p in points]


def check_space(space: Sequence[Parameter], cfg: Config, together: int = 1) -> None:
    """Check the keys of a search against the config that they will change.

    Args:
        space (Sequence[Parameter]): What is searched.
        cfg (Config): The config.
        together (int): Trials that train as one cohort.

    Raises:
        ConfigError: If the config has no such key and what stands there takes no such argument, a
            value is of another kind, the search sets the key itself, or trials of one cohort may
            not differ in it.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    for parameter in space:
        key = parameter.key
        if key.startswith(OURS):
            raise ConfigError(f'--space {key}: the search itself needs it; use --cfg-options')
        if together > 1 and (
            key.partition('.')[0] not in OF_MEMBERS
            or any(f'{key}.'.startswith(f'{part}.') for part in OF_TEACHER)
        ):
            raise ConfigError(
                f'--space {key}: trials that train together share data and teacher and may differ '
                f'in {", ".join(OF_MEMBERS)} only; leave out --together'
            )
        _check_key(cfg, parameter)


def _check_key(cfg: Config, parameter: Parameter) -> None:
    node, walked = cfg._cfg_dict, ''
    names = parameter.key.split('.')
    for depth, name in enumerate(names):
        where, last = walked or 'the config', depth == len(names) - 1
        if isinstance(node, (list, tuple)):
            if not name.isdigit() or int(name) >= len(node):
                raise ConfigError(
                    f'--space {parameter.key}: {where} is a list of {len(node)}, and {name!r} is '
                    f'no index of it; use 0 to {len(node) - 1}'
                )
            node = node[int(name)]
        elif isinstance(node, dict):
            arguments = _arguments(node.get('type'))
            if name not in node and not (last and name in arguments):
                known = list(dict.fromkeys([*node, *(arguments if last else ())]))
                raise ConfigError(
                    f'--space {parameter.key}: {where} has no key {name!r}; '
                    f'{near_names(name, known)}'
                )
            node = node.get(name)
        else:
            raise ConfigError(
                f'--space {parameter.key}: {where} is {node!r} in the config, without keys'
            )
        walked = f'{walked}.{name}'.lstrip('.')
    is_number = isinstance(node, (int, float)) and not isinstance(node, bool)
    if parameter.kind != 'choice' and node is not None and not is_number:
        hint = f'; use one of its keys: {", ".join(node)}' if isinstance(node, dict) else ''
        raise ConfigError(f'--space {parameter}: the config has {node!r} there, no number{hint}')


def _arguments(kind: Any) -> list[str]:
    """List the arguments of what a config's ``type`` names; none if that is unknown."""
    if isinstance(kind, str):
        registries = [r for r in vars(mmpretrain.registry).values() if isinstance(r, Registry)]
        kind = next(filter(None, (_look_up(registry, kind) for registry in registries)), None)
    if inspect.isclass(kind):
        makers = [
            vars(owner)['__init__'] for owner in kind.__mro__[:-1] if '__init__' in vars(owner)
        ]
    else:
        makers = [kind] if kind else []
    parameters = [one for maker in makers for one in inspect.signature(maker).parameters.values()]
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = dict.fromkeys(one.name for one in parameters if one.kind not in unnamed)
    return [name for name in names if name != 'self']


def _look_up(registry: Registry, kind: str) -> Any:
    # As when it is built: in the default scope first.
    with registry.switch_scope_and_registry(None) as current:
        return current.get(kind)


def with_values(cfg: Config, values: Mapping[str, Any]) -> Config:
    """Return a copy of a config in which keys, checked before, have other values."""
    content = cfg._cfg_dict.to_dict()
    for key, value in values.items():
        *path, last = key.split('.')
        node = content
        for name in path:
            node = node[int(name) if isinstance(node, (list, tuple)) else name]
        node[int(last) if isinstance(node, list) else last] = value
    return Config(content, filename=cfg.filename)
