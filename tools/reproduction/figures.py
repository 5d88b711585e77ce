"""Figures 1 and 5, by the analysis tools, out of finished runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from lakd_mm.errors import ConfigError

from .results import budget_key
from .runs import Run
from .targets import Target, label


def make_figures(target: Target, runs: Sequence[Run], work_dir: Path, out: Path) -> list[Path]:
    """Draw a figure for each seed for which every run of the call is finished.

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
    name, command_of = {
        'fig1': ('heat_map', _heat_map), 'fig5': ('tap_distances', _distances)
    }.get(target.name, ('', None))  # fmt: skip
    pictures = []
    for seed in dict.fromkeys(run.seed for run in runs) if command_of else ():
        group = [run for run in runs if run.seed == seed and run.cell.kind == 'train']
        results = [run.result() for run in group]
        if not group or None in results:
            continue
        picture = work_dir / 'figures' / f'{name}-{budget_key(results[0]).slug}-seed{seed}.png'
        command = command_of(group)
        if command is None:
            print(f'note: no {picture.name}: the last checkpoints of its runs are gone.')
            continue
        picture.parent.mkdir(parents=True, exist_ok=True)
        _call([*command, '--out', str(picture)])
        (out / target.name).mkdir(parents=True, exist_ok=True)
        pictures.append(Path(shutil.copy(picture, out / target.name / picture.name)))
    return pictures


def _heat_map(runs: Sequence[Run]) -> Optional[list[str]]:
    """Return the call for Fig. 1: the teacher's layers against each student's."""
    command = [f'{runs[0].tools}/analysis_tools/cka.py', f'{runs[0].folder}/config.py']
    command.append(runs[0].cfg.model.teacher_ckpt)
    for run in runs:
        checkpoint = run.folder / f'epoch_{run.epochs}.pth'
        if not checkpoint.exists():
            return None
        # The config as MMEngine leaves it with each training.
        command += ['--student', label(run.cell.row), f'{run.folder}/config.py', str(checkpoint)]
    return command


def _distances(runs: Sequence[Run]) -> list[str]:
    """Return the call for Fig. 5: the logs of the runs."""
    command = [f'{runs[0].tools}/analysis_tools/tap_distances.py', '--source', 'log']
    for run in runs:
        command += ['--run', label(run.cell.row), str(run.folder)]
    return command


def _call(command: Sequence[str]) -> None:
    """Run a tool, quietly unless it fails."""
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
