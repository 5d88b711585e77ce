"""A hook that writes one line an epoch, which a training that was killed can be read from."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmrazor.registry import HOOKS

from ..hardware import hardware

# Key of the message hub, which a checkpoint holds.
TO_COME = 'epoch_record_to_come'
SPENT = 'epoch_record_spent'


@HOOKS.register_module()
class EpochRecordHook(Hook):
    """Appends metrics, seconds and hardware of each epoch to ``epochs.jsonl``.

    A line is written when everything of its epoch is, the checkpoints included, so a training may
    go on behind any epoch that has a line and a checkpoint. An epoch without a validation
    (``val_interval``) has a line without metrics. Checkpoints hold the line that is to come: one
    that a kill has prevented is written when the training resumes.

    Args:
        name (str): The file in the work folder.
        members (Dict[str, str], optional): The folders of a cohort's members, by name; each gets a
            file of its own, until the member is stopped. Defaults to None: no cohort.
    """

    # In front of the hook that saves the best checkpoint.
    priority = 'LOW'

    def __init__(self, name: str = 'epochs.jsonl', members: Optional[Mapping[str, str]] = None):
        self.name = name
        self.members = members
        # From here, so that the first epoch's time has the loading of the data in it.
        self._since = self._made = time.monotonic()
        self._lines: dict = {}  # The last ones, by member.

    def after_train_epoch(self, runner: Runner) -> None:
        """Make the line of an epoch, as it is unless a validation comes."""
        self._make(runner, runner.epoch + 1, {})

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Make it anew with the metrics; a validation on its own has no line."""
        if isinstance(runner._train_loop, BaseLoop):
            self._make(runner, runner.epoch, metrics)

    def _make(self, runner: Runner, epoch: int, metrics: dict) -> None:
        self._made = time.monotonic()
        seconds = round(self._made - self._since, 3)
        stopped = getattr(runner.model, 'module', runner.model).stopped if self.members else ()
        lines = {}
        for member in self._folders(runner).keys() - stopped:
            prefix = f'{member}/' if member else ''
            loss = f'train/{member}.loss' if member else 'train/loss'
            losses = runner.message_hub.log_scalars.get(loss)
            line = dict(
                epoch=epoch,
                metrics={
                    key.removeprefix(prefix): number(value)
                    for key, value in metrics.items()
                    if key.startswith(prefix)
                },
                loss=losses and number(losses.mean(len(runner.train_dataloader))),
                seconds=seconds,
                hardware=hardware(),
            )
            lines[member] = json.dumps(line)
        runner.message_hub.update_info(TO_COME, lines)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """In the middle of an epoch, note its seconds so far."""
        if 'position' in checkpoint['meta']:
            spent = time.monotonic() - self._since
            checkpoint['message_hub']['runtime_info'][SPENT] = spent

    def before_train(self, runner: Runner) -> None:
        """Go on with the seconds and the lines of the checkpoint that the training resumes from."""
        spent = runner.message_hub.runtime_info.pop(SPENT, 0.0)
        self._since -= spent if isinstance(spent, float) and math.isfinite(spent) else 0.0
        lines = runner.message_hub.runtime_info.get(TO_COME)
        for member, line in lines.items() if isinstance(lines, dict) else ():
            folder, record = self._folders(runner).get(member), _read(line)
            known = len(read_epochs(Path(folder) / self.name)) if folder else 0
            if folder and record and known < record['epoch']:
                self._append(runner, member, line)
        runner.message_hub.update_info(TO_COME, {})

    def before_train_epoch(self, runner: Runner) -> None:
        """Write the lines of the epoch before."""
        lines = runner.message_hub.get_info(TO_COME)
        for member, line in lines.items():
            self._append(runner, member, line)
        self._since = self._made
        self._lines = lines or self._lines
        runner.message_hub.update_info(TO_COME, {})

    def after_train(self, runner: Runner) -> None:
        """Write the lines of the last epoch, and add that the training stopped early there."""
        self.before_train_epoch(runner)
        if runner.train_loop.stop_training:
            for member, line in self._lines.items():
                stopped = dict(json.loads(line), stopped=True)
                self._append(runner, member, json.dumps(stopped))

    def _folders(self, runner: Runner) -> dict[str, str]:
        return dict(self.members or {'': runner.work_dir})

    @master_only
    def _append(self, runner: Runner, member: str, line: str):
        append_line(Path(self._folders(runner)[member]) / self.name, line)


def number(value: object) -> object:
    """Turn a number into what JSON has: null for one that is not finite; anything else as it is."""
    if isinstance(value, (torch.Tensor, float, int)) and not isinstance(value, bool):
        value = float(value)
        return round(value, 6) if math.isfinite(value) else None
    return value


def append_line(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk.

    It begins a new line even where a crash has left half a line.
    """
    with open(path, 'ab+') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        broken = file.read(1) not in (b'', b'\n')
        file.write((b'\n' if broken else b'') + line.encode() + b'\n')
        file.flush()
        os.fsync(file.fileno())


def read_epochs(path: Path) -> list[dict]:
    """Read the lines of :class:`EpochRecordHook`, in the order of the epochs, from 1.

    Where a training went on from an earlier epoch, the later lines count. A line that was cut short
    is left out, and so is whatever comes behind a gap.
    """
    lines = path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''
    epochs: list[dict] = []
    for line in lines.splitlines():
        record = _read(line)
        if record is not None:
            epochs = epochs[: record['epoch'] - 1]
            if len(epochs) == record['epoch'] - 1:
                epochs.append(record)
    return epochs


def _read(line: object) -> Optional[dict]:
    """Read a line of a file or a checkpoint; None if it is none of an epoch."""
    try:
        record = json.loads(line)
        return record if isinstance(record['epoch'], int) and record['epoch'] >= 1 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
