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


@HOOKS.register_module()
class EpochRecordHook(Hook):
    """Appends metrics, seconds and hardware of each validated epoch to ``epochs.jsonl``.

    A line is written when everything of its epoch is, the checkpoints included, so a training may
    go on behind any epoch that has a line.

    Args:
        name (str): The file in the work folder.
        members (Dict[str, str], optional): The folders of a cohort's members, by name; each gets a
            file of its own, until the member is stopped. Defaults to None: no cohort.
    """

    # Behind the hook that saves the best checkpoint.
    priority = 'LOWEST'

    def __init__(self, name: str = 'epochs.jsonl', members: Optional[Mapping[str, str]] = None):
        self.name = name
        self.members = members
        # From here, so that the first epoch's time has the loading of the data in it.
        self._since = time.monotonic()
        self._lines: dict = {}  # By the folder.

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Write the line of an epoch of training; a validation on its own writes none."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        now = time.monotonic()
        seconds, self._since = round(now - self._since, 3), now
        places = dict(self.members or {'': runner.work_dir})
        if self.members:
            model = getattr(runner.model, 'module', runner.model)
            places = {name: path for name, path in places.items() if name not in model.stopped}
        for member, folder in places.items():
            prefix = f'{member}/' if member else ''
            loss = f'train/{member}.loss' if member else 'train/loss'
            losses = runner.message_hub.log_scalars.get(loss)
            line = dict(
                epoch=runner.epoch,
                metrics={
                    key.removeprefix(prefix): number(value)
                    for key, value in metrics.items()
                    if key.startswith(prefix)
                },
                loss=losses and number(losses.mean(len(runner.train_dataloader))),
                seconds=seconds,
                hardware=hardware(),
            )
            self._lines[folder] = line
            append_line(Path(folder) / self.name, json.dumps(line))

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Add to the last epoch that the training stopped early there."""
        for folder, line in self._lines.items() if runner.train_loop.stop_training else ():
            append_line(Path(folder) / self.name, json.dumps(dict(line, stopped=True)))


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
        try:
            record = json.loads(line)
            epoch = record['epoch']
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if not isinstance(epoch, int) or epoch < 1:
            continue
        epochs = epochs[: epoch - 1]
        if len(epochs) == epoch - 1:
            epochs.append(record)
    return epochs
