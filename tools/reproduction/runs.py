"""One run: its folder, its command, and what it has left so far."""

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from lakd_mm.engine.hardware import hardware
from lakd_mm.engine.hooks.epoch_record_hook import number

from .plan import Budget, Cell
from .records import (
    VERSION,
    best_epoch,
    read_epochs,
    read_json,
    read_result,
    write_json,
    write_text,
)

# Ends the names of folders of runs that were begun anew.
SET_ASIDE = '.old'
TIME = '%Y-%m-%d %H:%M:%S'


@dataclass
class Run:
    """A training, or a test, in a folder of its own.

    Args:
        id (str): Its folder under the work folder, which names cell, budget and seed.
        cell (Cell): The place that it is for.
        budget (Budget): How much is trained.
        seed (int): Seed of every random number.
        cfg (Config): The whole config.
        recipe_epochs (int): Epochs of the full recipe.
        identity (str): From :func:`run_config.identity`.
        work_dir (Path): The work folder of all runs.
        tools (Path): Folder of train.py and test.py.
        checkpoint (str, optional): What is tested.
        facts (dict): Noted in the result: data, teacher, commit, command…
    """

    id: str
    cell: Cell
    budget: Budget
    seed: int
    cfg: Optional[Config]
    recipe_epochs: int
    identity: str
    work_dir: Path
    tools: Path
    checkpoint: Optional[str] = None
    facts: dict = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return self.work_dir / self.id

    @property
    def label(self) -> str:
        """Its name on a line of the progress."""
        return self.id

    @property
    def epochs(self) -> int:
        """Epochs to train; 1 for what is no training."""
        return self.cfg.train_cfg.max_epochs if self.cell.kind == 'train' else 1

    def records(self) -> list[dict]:
        """What is known of each epoch."""
        return read_epochs(self.folder / 'epochs.jsonl')[: self.epochs]

    def result(self) -> Optional[dict]:
        """The result, if it is complete."""
        return read_result(self.folder / 'result.json')

    def changed(self) -> bool:
        """Whether its folder was begun with another config than today's."""
        begun = read_json(self.folder / 'run.json')
        return begun is not None and begun.get('identity') != self.identity

    def set_aside(self) -> None:
        """Moves its folder away, to begin anew."""
        if self.folder.exists():
            old = f'{self.folder.name}.{time.strftime("%Y%m%d_%H%M%S")}{SET_ASIDE}'
            shutil.move(str(self.folder), str(self.folder.with_name(old)))

    def prepare(self) -> list[str]:
        """Writes the config and returns the command that begins the run or goes on with it."""
        begun = read_json(self.folder / 'run.json') or {}
        # Not in the folder itself, where MMEngine writes what it makes of it.
        config = self.folder / 'plan' / 'config.py'
        if begun.get('identity') in (None, self.identity) or not config.exists():
            # A changed config would make two halves that do not belong together.
            if self.cfg is not None:
                write_text(config, self.cfg.pretty_text)
            begun.update(
                cell=self.cell.name, identity=self.identity, epochs=self.epochs, facts=self.facts
            )
        begun.setdefault('started', []).append(time.strftime(TIME))
        write_json(self.folder / 'run.json', begun)
        if self.cell.kind == 'memory':
            out = str(self.folder / 'memory.json')
            return [*self._python('benchmarks/memory.py'), '--pair', self.cell.column, '--out', out]
        if self.cell.kind == 'test':
            return [
                *self._python('test.py'),
                str(config),
                self.checkpoint,
                '--work-dir',
                str(self.folder),
                '--out',
                str(self.folder / 'metrics.json'),
                '--out-item',
                'metrics',
            ]
        command = [*self._python('train.py'), str(config), '--work-dir', str(self.folder)]
        checkpoint = self._resume_from()
        return command + (['--resume', checkpoint] if checkpoint else [])

    def finish(self) -> Optional[dict]:
        """Writes the result, if everything for it is there, and returns it."""
        if self.cell.kind == 'train':
            records = self.records()
            if len(records) < self.epochs and not (records and records[-1].get('stopped')):
                return None
            best = best_epoch(records, 'accuracy/top1')
            content = dict(
                metrics=records[-1]['metrics'],
                best=dict(epoch=best['epoch'], metrics=best['metrics']),
                seconds=round(sum(record['seconds'] for record in records), 1),
                hardware=_joined([record['hardware'] for record in records]),
                epochs=records,
            )
            for record in records:
                record.pop('hardware')
        else:
            content = self._tested() if self.cell.kind == 'test' else self._measured()
            if content is None:
                return None
            content.update(epochs=[], best=dict(epoch=0, metrics=content['metrics']))
        begun = read_json(self.folder / 'run.json') or {}
        result = dict(
            version=VERSION,
            run=self.id,
            cell=self.cell.name,
            kind=self.cell.kind,
            dataset=self.cell.dataset,
            seed=self.seed,
            recipe=self.budget.recipe,
            recipe_epochs=self.recipe_epochs,
            max_epochs=self.epochs,
            fraction=self.budget.fraction,
            options=[list(option) for option in self.budget.changes],
            **content,
            **begun.get('facts', self.facts),
            started=begun.get('started', []),
            finished=time.strftime(TIME),
        )
        write_json(self.folder / 'result.json', result)
        return result

    def _tested(self) -> Optional[dict]:
        metrics = read_json(self.folder / 'metrics.json')
        if not isinstance(metrics, dict):
            return None
        metrics = {key: number(value) for key, value in metrics.items()}
        return dict(metrics=metrics, seconds=self._seconds('metrics.json'), hardware=hardware())

    def _measured(self) -> Optional[dict]:
        found = read_json(self.folder / 'memory.json')
        if not isinstance(found, dict) or not found.get('rows'):
            return None
        return dict(
            metrics={},
            rows=found['rows'],
            batch=found['batch'],
            seconds=self._seconds('memory.json'),
            hardware=hardware(),
        )

    def _seconds(self, name: str) -> float:
        """From the start to when a file was written."""
        begun = read_json(self.folder / 'run.json') or {}
        if not begun.get('started'):
            return 0.0
        start = time.mktime(time.strptime(begun['started'][-1], TIME))
        return round(max(0.0, (self.folder / name).stat().st_mtime - start), 1)

    def _python(self, tool: str) -> list[str]:
        return [sys.executable, str(self.tools / tool)]

    def _resume_from(self) -> Optional[str]:
        """The last checkpoint whose epoch was validated; what came after it is removed.

        Its epoch has a line in ``epochs.jsonl``, so the file is whole and nothing of the epoch is
        missing.
        """
        saved = {
            int(path.stem.partition('_')[2]): path
            for path in self.folder.glob('epoch_*.pth')
            if path.stem.partition('_')[2].isdigit()
        }
        known = [epoch for epoch in saved if epoch <= len(self.records())]
        if not known:
            return None
        last = max(known)
        for epoch, path in saved.items():
            if epoch > last:
                path.unlink()
        write_text(self.folder / 'last_checkpoint', str(saved[last]))
        return str(saved[last])


def _joined(hardware: list[dict]) -> dict:
    """The hardware of all epochs: a value, or the different ones."""
    joined = {}
    for key in hardware[0]:
        values = list(dict.fromkeys(part.get(key) for part in hardware))
        joined[key] = values[0] if len(values) == 1 else ', '.join(map(str, values))
    return joined


def environment(threads: int, slot: int, devices: int) -> dict:
    """The environment of a run's process.

    Args:
        threads (int): How many it may compute with.
        slot (int): Which of the processes at a time it is, from 0.
        devices (int): GPUs; the processes take turns on them.
    """
    variables = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'OMP_WAIT_POLICY': 'passive'}
    if devices > 1:
        visible = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(devices)))
        visible = visible.split(',')
        variables['CUDA_VISIBLE_DEVICES'] = visible[slot % len(visible)]
    return variables
