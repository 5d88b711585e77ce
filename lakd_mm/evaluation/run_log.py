"""Read a training's work folder: its log, its config, its checkpoints."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..engine.networks import read_config
from ..errors import ConfigError


def check_run(work_dir: Path):
    """Raise a ConfigError if the work folder of a ``--run`` does not exist."""
    if not work_dir.is_dir():
        raise ConfigError(f'--run: {work_dir} is not a folder')


def log_records(work_dir: Path) -> Iterator[dict]:
    """Read what MMEngine logged in a work folder: the records of training and of validation.

    If several runs used the folder, their records come run by run, so the last record of a step is
    the valid one. Lines that a kill cut short are left out. The records of a cohort's member come
    from the folder of the cohort, where they have the member's name.
    """
    paths, member = sorted(work_dir.glob('*/vis_data/scalars.json')), ''
    if not paths:
        paths, member = sorted(work_dir.parent.glob('*/vis_data/scalars.json')), work_dir.name
    for path in paths:
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                record = _of_member(record, member) if member else record
                yield from [record] if record else []


def _of_member(record: dict, member: str) -> dict:
    """Return a member's part of a cohort's record and the shared keys; empty without such part."""
    own = {
        k[len(member) + 1 :]: v
        for k, v in record.items()
        if k.startswith((f'{member}.', f'{member}/'))
    }
    shared = {key: value for key, value in record.items() if not re.search('[./]', key)}
    return {**shared, **own} if own else {}


def epoch_checkpoints(work_dir: Path) -> dict[int, Path]:
    """Find the checkpoints ``epoch_<n>.pth`` of a work folder, by epoch."""
    paths = {
        int(match[1]): path
        for path in work_dir.glob('epoch_*.pth')
        if (match := re.fullmatch(r'epoch_(\d+)', path.stem))
    }
    return dict(sorted(paths.items()))


def run_config(work_dir: Path) -> Config:
    """Read the config that a training wrote into its work folder.

    Raises:
        ConfigError: If there is none, or there are several.
    """
    # Beside its weights lies the config of an exported student.
    paths = [p for p in sorted(work_dir.glob('*.py')) if not p.with_suffix('.pth').exists()]
    if len(paths) != 1:
        raise ConfigError(
            f'{work_dir}: it holds {len(paths)} configs (*.py), but needs exactly one'
        )
    return read_config(str(paths[0]))
