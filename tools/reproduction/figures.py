"""Figures 1 and 5, by the analysis tools, out of finished runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from lakd_mm.errors import ConfigError

from .collect import budget_key
from .labels import row_label
from .plan import Target
from .runs import Run


def make_figures(target: Target, runs: Sequence[Run], work_dir: Path, out: Path) -> list[Path]:
    """Draws a figure for each budget and seed for which every run of the call is finished.

    Args:
        target (Target): Nothing is drawn for one that is a table.
        runs (Sequence[Run]): The runs of the call.
        work_dir (Path): Gets ``figures/``: pictures and their numbers.
        out (Path): Folder of the reports; gets the pictures.

    Returns:
        List[Path]: The pictures.

    Raises:
        ConfigError: If a tool fails.
    """
    command_of = {'fig1': _heat_map, 'fig5': _distances}.get(target.name)
    pictures = []
    for group in _groups(runs) if command_of else ():
        results = [run.result() for run in group]
        if None in results:
            continue
        slug = f'{budget_key(results[0]).slug}-seed{group[0].seed}'
        name = {'fig1': 'heat_map', 'fig5': 'tap_distances'}[target.name]
        picture = work_dir / 'figures' / f'{name}-{slug}.png'
        picture.parent.mkdir(parents=True, exist_ok=True)
        command = command_of(group)
        if command is None:
            print(f'note: no {picture.name}: the last checkpoints of its runs are gone.')
            continue
        _call([*command, '--out', str(picture)])
        folder = out / target.name
        folder.mkdir(parents=True, exist_ok=True)
        pictures.append(Path(shutil.copy(picture, folder / picture.name)))
    return pictures


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Trainings by seed."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    groups = [[r for r in runs if r.seed == seed and r.cell.kind == 'train'] for seed in seeds]
    return [group for group in groups if group]


def _heat_map(runs: Sequence[Run]) -> Optional[list[str]]:
    """The call for Fig. 1: the teacher's layers against each student's."""
    first = runs[0]
    command = [_tool(first, 'cka.py'), _config(first), first.cfg.model.teacher_ckpt]
    for run in runs:
        checkpoint = run.folder / f'epoch_{run.epochs}.pth'
        if not checkpoint.exists():
            return None
        command += ['--student', row_label(run.cell.row), _config(run), str(checkpoint)]
    return command


def _distances(runs: Sequence[Run]) -> list[str]:
    """The call for Fig. 5: the logs of the runs."""
    command = [_tool(runs[0], 'tap_distances.py'), '--source', 'log']
    for run in runs:
        command += ['--run', row_label(run.cell.row), str(run.folder)]
    return command


def _tool(run: Run, name: str) -> str:
    return str(run.tools / 'analysis_tools' / name)


def _config(run: Run) -> str:
    # As MMEngine leaves it with each training.
    return str(run.folder / 'config.py')


def _call(command: Sequence[str]) -> None:
    """Runs a tool, quietly unless it fails."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, 'OMP_WAIT_POLICY': 'passive'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        end = '\n'.join(done.stdout.splitlines()[-8:])
        raise ConfigError(f'{Path(command[0]).name} failed:\n{end}')
