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
    """Draw the figure, if the target is one, for each seed of which all runs are finished.

    The picture and its numbers go to ``work_dir/figures``, the picture also to ``out/<target>``;
    a ConfigError tells that a tool fails.
    """
    names = {'fig1': 'heat_map', 'fig5': 'tap_distances'}
    pictures = []
    for seed in dict.fromkeys(run.seed for run in runs) if target.name in names else ():
        group = [run for run in runs if run.seed == seed and run.cell.kind == 'train']
        results = [run.result() for run in group]
        if not group or None in results:
            continue
        slug = budget_key(results[0]).slug
        picture = work_dir / 'figures' / f'{names[target.name]}-{slug}-seed{seed}.png'
        command = _heat_map(group) if target.name == 'fig1' else _distances(group)
        if command is None:
            print(f'note: no {picture.name}: the last checkpoints of its runs are gone.')
            continue
        copy = out / target.name / picture.name
        for path in (picture, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
        _call([*command, '--out', str(picture)])
        pictures.append(Path(shutil.copy(picture, copy)))
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
    named = [['--run', label(run.cell.row), str(run.folder)] for run in runs]
    return [f'{runs[0].tools}/analysis_tools/tap_distances.py', '--source', 'log', *sum(named, [])]


def _call(command: Sequence[str]) -> None:
    """Run a tool, quietly unless it fails."""
    to_pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    env = {**os.environ, 'OMP_WAIT_POLICY': 'passive'}
    done = subprocess.run([sys.executable, *command], env=env, **to_pipe)
    if done.returncode:
        end = '\n'.join(done.stdout.splitlines()[-8:])
        raise ConfigError(f'{Path(command[0]).name} failed:\n{end}')
