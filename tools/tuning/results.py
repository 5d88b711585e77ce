"""What a search leaves: the best config, and Optuna's pictures."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from lakd_mm.engine.command_line import public_path
from reproduction.runs import write_text

from .space import Parameter, with_values


def best_trial(study: Any) -> Optional[Any]:
    """Return the best complete trial; None if there is none."""
    try:
        return study.best_trial
    except ValueError:
        return None


def write_best(
    study: Any, cfg: Config, base: str, space: Sequence[Parameter], path: Path, note: str
) -> None:
    """Write a config that inherits the searched one and sets what the best trial has.

    Args:
        study (Study): With a complete trial.
        cfg (Config): The searched config.
        base (str): Its path, or ``package::path``.
        space (Sequence[Parameter]): What was searched.
        path (Path): The file.
        note (str): How it was searched, for a comment.
    """
    trial = study.best_trial
    values = {one.key: one.value_of(trial.params) for one in space}
    found = with_values(cfg, values)._cfg_dict.to_dict()
    content: dict = {}
    for key, value in values.items():
        _put(content, key.split('.'), value, cfg._cfg_dict.to_dict(), found)
    if '::' not in base:
        base = Path(os.path.relpath(base, path.parent)).as_posix()
    head = f'# Trial {trial.number}: {study.user_attrs["metric"]} {trial.value:.6g}, {note}.\n'
    write_text(path, f'{head}_base_ = {base!r}\n\n{Config(content).pretty_text}')


def _put(content: dict, names: Sequence[str], value: Any, old: Any, found: Any) -> None:
    """Set a key below others; of a list, which a config replaces as a whole, all of it."""
    name, *rest = names
    inside = old.get(name)
    if not rest:
        content[name] = dict(value, _delete_=True) if isinstance(value, dict) else value
    elif isinstance(inside, dict):
        _put(content.setdefault(name, {}), rest, value, inside, found[name])
    else:
        content[name] = found[name]


def draw(study: Any, folder: Path) -> Iterator[str]:
    """Draw history, importance and the epochs of all trials; yield a line for each picture."""
    import matplotlib

    matplotlib.use('Agg')
    from optuna.visualization import matplotlib as plots

    metric = study.user_attrs['metric']
    pictures = {
        'history': lambda: plots.plot_optimization_history(study, target_name=metric),
        'importance': lambda: plots.plot_param_importances(study, target_name=metric),
        'epochs': lambda: plots.plot_intermediate_values(study),
    }
    for name, plot in pictures.items():
        path = folder / f'{name}.png'
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                axes = plot()
                if name == 'epochs':
                    axes.set(xlabel='Epoch', ylabel=metric)
                    axes.xaxis.get_major_locator().set_params(integer=True)
                figure = axes.figure
                figure.savefig(path, dpi=150, bbox_inches='tight')
        except (ValueError, RuntimeError) as error:
            yield f'no {path.name} yet: {error}'
        else:
            matplotlib.pyplot.close(figure)
            yield f'-> {public_path(str(path))}'
