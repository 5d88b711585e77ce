"""Reading and writing what a run leaves behind, so that a crash at any moment does no harm."""

import json
import os
from pathlib import Path
from typing import Any, Optional

VERSION = 1
# What a result must have to count as one.
NEEDED = {'version', 'run', 'metrics', 'seconds', 'hardware'}


def write_json(path: Path, content: Any) -> None:
    """Writes a whole file or none: beside it first, then in its place."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + '\n')


def write_text(path: Path, text: str) -> None:
    """As :func:`write_json`, for text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    with open(beside, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_json(path: Path) -> Optional[Any]:
    """Reads a file; None if it is absent or cut short."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def read_result(path: Path) -> Optional[dict]:
    """Reads the result of a run; None if it is absent, cut short or of another version."""
    result = read_json(path)
    if not isinstance(result, dict) or not result.keys() >= NEEDED:
        return None
    return result if result['version'] == VERSION else None


def read_epochs(path: Path) -> list[dict]:
    """Reads the lines of :class:`EpochRecordHook`, in the order of the epochs, from 1.

    Where a training went on from an earlier epoch, the later lines count. A line that was cut short
    is left out, and so is whatever comes behind a gap.
    """
    try:
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return []
    epochs: list[dict] = []
    for line in lines:
        try:
            record = json.loads(line)
            epoch = record['epoch']
        except (ValueError, KeyError, TypeError):
            continue
        epochs = epochs[: epoch - 1]
        if len(epochs) == epoch - 1:
            epochs.append(record)
    return epochs


def best_epoch(epochs: list[dict], metric: str) -> dict:
    """The first epoch with the highest value of a metric."""
    return max(epochs, key=lambda e: (_value(e, metric), -e['epoch']))


def _value(epoch: dict, metric: str) -> float:
    value = epoch['metrics'].get(metric)
    return float('-inf') if value is None else value
