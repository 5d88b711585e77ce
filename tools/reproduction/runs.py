"""One run: its folder, its command, and what it has left so far, whole after a crash too."""

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.config import Config

from lakd_mm.compat.mmengine_whole import INTERRUPTED, fault
from lakd_mm.engine.hardware import hardware
from lakd_mm.engine.hooks.epoch_record_hook import number, read_epochs
from lakd_mm.evaluation.run_log import epoch_checkpoints

from .run_config import validate_every
from .targets import Budget, Cell

VERSION = 1
# What a result must have to count as one.
NEEDED = {'version', 'run', 'metrics', 'seconds', 'hardware'}
# Ends the names of folders of runs that were begun anew.
SET_ASIDE = '.old'
TIME = '%Y-%m-%d %H:%M:%S'


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none: beside it first, then in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    with open(beside, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + '\n')


def read_json(path: Path) -> Optional[Any]:
    """Read a file; None if it is absent or cut short."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None


def read_result(path: Path) -> Optional[dict]:
    """Read the result of a run; None if it is absent, cut short or of another version."""
    result = read_json(path)
    whole = isinstance(result, dict) and result.keys() >= NEEDED and result['version'] == VERSION
    return result if whole else None


def epochs_done(path: Path) -> Optional[int]:
    """Return how many epochs a checkpoint has behind it; None if it is absent or not whole."""
    if not path.is_file() or fault(str(path)):
        return None
    return torch.load(path, map_location='cpu')['meta'].get('epoch')


def best_epoch(epochs: list[dict], metric: str = 'accuracy/top1') -> dict:
    """Return the first epoch with the highest value of a metric."""
    validated = [epoch for epoch in epochs if epoch['metrics']]
    known = [epoch for epoch in validated if epoch['metrics'].get(metric) is not None]
    return max(known or validated, key=lambda epoch: epoch['metrics'].get(metric) or 0)


@dataclass
class Run:
    """A training, or a test, in a folder of its own."""

    id: str  # Its folder under the work folder, which names cell, budget and seed.
    cell: Cell
    budget: Budget
    seed: int
    cfg: Optional[Config]  # The whole config.
    recipe_epochs: int  # Of the full recipe.
    identity: str  # From run_config.identity.
    work_dir: Path  # Of all runs.
    tools: Path  # Folder of train.py and test.py.
    checkpoint: Optional[str] = None  # What is tested.
    facts: dict = field(default_factory=dict)  # For the result: data, teacher, commit, command.
    again = True  # Whether a process that ended without all records may be begun anew.

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return self.work_dir / self.id

    @property
    def epochs(self) -> int:
        """Epochs to train; 1 for what is no training."""
        return self.cfg.train_cfg.max_epochs if self.cell.kind == 'train' else 1

    @property
    def begun(self) -> dict:
        """What was noted when it was begun; nothing if it was not."""
        return read_json(self.folder / 'run.json') or {}

    def records(self) -> list[dict]:
        """Return what is known of each epoch."""
        return read_epochs(self.folder / 'epochs.jsonl')[: self.epochs]

    def result(self) -> Optional[dict]:
        """Return the result, if it is complete."""
        return read_result(self.folder / 'result.json')

    def changed(self) -> bool:
        """Return whether its folder was begun with another config than today's."""
        return self.begun.get('identity', self.identity) != self.identity

    def set_aside(self) -> None:
        """Move its folder away, to begin anew."""
        if self.folder.exists():
            old = f'{self.folder.name}.{time.strftime("%Y%m%d_%H%M%S")}{SET_ASIDE}'
            shutil.move(str(self.folder), str(self.folder.with_name(old)))

    @property
    def plan(self) -> Path:
        """Its config; not in the folder itself, where MMEngine writes what it makes of it."""
        return self.folder / 'plan' / 'config.py'

    def config(self) -> Optional[Config]:
        """Return today's config, or that with which it was begun where it learns otherwise.

        A changed config would make two halves that do not belong together.
        """
        if not self.changed() or not self.plan.exists():
            return self.cfg
        cfg = Config.fromfile(self.plan)
        if self.cell.kind == 'train':
            validate_every(cfg, self.cfg.train_cfg.val_interval)
        return cfg

    def begin(self) -> None:
        """Write the config, and note the start."""
        begun, cfg = self.begun, self.config()
        if cfg is self.cfg:
            begun.update(cell=self.cell.name, identity=self.identity)
            begun.update(epochs=self.epochs, facts=self.facts)
        if cfg is not None:
            write_text(self.plan, cfg.pretty_text)
        begun.setdefault('started', []).append(time.strftime(TIME))
        write_json(self.folder / 'run.json', begun)

    def prepare(self) -> list[str]:
        """Write the config and return the command that begins the run or goes on with it."""
        self.begin()
        config, folder = self.plan, str(self.folder)
        if self.cell.kind == 'memory':
            out = f'{folder}/memory.json'
            words = ['benchmarks/memory.py', '--pair', self.cell.column, '--out', out]
        elif self.cell.kind == 'test':
            words = ['test.py', str(config), self.checkpoint, '--work-dir', folder]
            words += ['--out', f'{folder}/metrics.json', '--out-item', 'metrics']
        else:
            words = ['train.py', str(config), '--work-dir', folder, *self._resume()]
        return [sys.executable, str(self.tools / words[0]), *words[1:]]

    def finish(self) -> Optional[dict]:
        """Write the result, if everything for it is there, and return it."""
        content = self._trained() if self.cell.kind == 'train' else self._measured()
        if content is None:
            return None
        cell, budget, begun = self.cell, self.budget, self.begun
        result = dict(version=VERSION, run=self.id, cell=cell.name, kind=cell.kind)
        result.update(dataset=cell.dataset, seed=self.seed, recipe=budget.recipe)
        result.update(recipe_epochs=self.recipe_epochs, max_epochs=self.epochs)
        result.update(fraction=budget.fraction, options=[list(one) for one in budget.changes])
        result.update(held_out=budget.held_out)
        result.update(content, **begun.get('facts', self.facts))
        result.update(started=begun.get('started', []), finished=time.strftime(TIME))
        write_json(self.folder / 'result.json', result)
        return result

    def _trained(self) -> Optional[dict]:
        records = self.records()
        ended = len(records) == self.epochs or (records and records[-1].get('stopped'))
        if not ended or not records[-1]['metrics']:
            return None
        best = best_epoch(records)
        seen = [record.pop('hardware') for record in records]
        # Of each fact the value, or the different ones.
        facts = {key: list(dict.fromkeys(one.get(key) for one in seen)) for key in seen[0]}
        return dict(
            metrics=records[-1]['metrics'],
            best=dict(epoch=best['epoch'], metrics=best['metrics']),
            seconds=round(sum(record['seconds'] for record in records), 1),
            hardware={k: v[0] if len(v) == 1 else ', '.join(map(str, v)) for k, v in facts.items()},
            epochs=records,
        )

    def _measured(self) -> Optional[dict]:
        path = self.folder / ('metrics.json' if self.cell.kind == 'test' else 'memory.json')
        found = read_json(path)
        if not isinstance(found, dict) or (self.cell.kind == 'memory' and not found.get('rows')):
            return None
        if self.cell.kind == 'test':
            content = dict(metrics={key: number(value) for key, value in found.items()})
        else:
            content = dict(metrics={}, rows=found['rows'], batch=found['batch'])
        # From the start to when the file was written.
        ended = path.stat().st_mtime
        started = [time.mktime(time.strptime(one, TIME)) for one in self.begun.get('started', ())]
        seconds = round(max(0.0, ended - started[-1]), 1) if started else 0.0
        best = dict(epoch=0, metrics=content['metrics'])
        return dict(content, seconds=seconds, hardware=hardware(), epochs=[], best=best)

    def _resume(self) -> list[str]:
        """Return the option that goes on where the training was saved; remove what came after it.

        A line in ``epochs.jsonl`` says that the epoch's checkpoint, if it has one, is whole and was
        validated.
        """
        saved, lines = epoch_checkpoints(self.folder), len(self.records())
        last = max((epoch for epoch in saved if epoch <= lines), default=0)
        middle = self.folder / INTERRUPTED
        done = epochs_done(middle)
        # It may hold the line of its last epoch.
        if done is not None and last <= done <= lines + 1:
            self.go_back(done)
            write_text(self.folder / 'last_checkpoint', str(middle))
            return ['--resume', str(middle)]
        self.go_back(last)
        return ['--resume', str(saved[last])] if last else []

    def go_back(self, epoch: int) -> None:
        """Remove what came after an epoch, or all lines: the training writes them again."""
        saved, path = epoch_checkpoints(self.folder), self.folder / 'epochs.jsonl'
        # Those that a new training would overwrite are put aside by its hooks.
        for later in [saved[other] for other in saved if other > epoch > 0]:
            later.unlink()
        if epoch in saved:
            write_text(self.folder / 'last_checkpoint', str(saved[epoch]))
        records = read_epochs(path)
        if len(records) > epoch:
            write_text(path, ''.join(f'{json.dumps(record)}\n' for record in records[:epoch]))
